"""The fleet's fixtures, for every test."""

pytest_plugins = ["tests.fleet.fixtures"]
