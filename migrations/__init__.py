"""The migrations of Flask-StateManager, installed as ``flask_statemanager.migrations``; run by ``flask state db``."""
