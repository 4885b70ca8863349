"""Fetch exactly the right PyTorch wheels for another machine, prove them, and install them with no network."""

__version__ = "0.1.0"
