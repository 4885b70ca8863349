"""Clients on their way in: sockets, TLS, connections, passwords, and who may take how much."""
