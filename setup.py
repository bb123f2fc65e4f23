"""List the packages: everything under flask_statemanager/, and migrations/ as flask_statemanager.migrations."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["flask_statemanager", "flask_statemanager.*"]),
        "flask_statemanager.migrations",
        "flask_statemanager.migrations.versions",
    ],
)
