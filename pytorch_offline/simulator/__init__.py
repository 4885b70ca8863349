"""A faithful small download.pytorch.org/whl on loopback, for the demo and for tests.

It serves the index as it was at a date (pages byte for byte, quirks included), stand-in wheels with real names and
requirements, a default index beside it, recorded pages, and faults. Start at ``server.Simulator``.
"""
