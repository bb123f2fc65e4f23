"""The tests of Flask-StateManager."""
