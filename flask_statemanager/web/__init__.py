"""The network side: REST, problem details, identities. Imported only where ``STATEMANAGER_API_ENABLED`` is on."""
