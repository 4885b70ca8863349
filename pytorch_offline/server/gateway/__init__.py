"""A mirror that asks upstream for what it has not: its pages, rewritten to this host, and its wheels, once proved."""
