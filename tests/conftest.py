"""What every test may use: the servers, and the list of skips at the end of a run."""

pytest_plugins = [
    "pytester",
    "tests.servers.fixtures",
    "tests.worlds",
    "flask_statemanager.testing.plugin",
    "tests.servers.skips",
]
