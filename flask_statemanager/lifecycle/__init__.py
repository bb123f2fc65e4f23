"""The lifecycle face: typed states that move from status to status, with history. No framework in here."""
