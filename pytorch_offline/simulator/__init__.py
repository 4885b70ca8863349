"""A faithful small download.pytorch.org on loopback, for the demo and the tests."""
