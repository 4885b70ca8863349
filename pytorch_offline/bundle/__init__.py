"""What is carried across the gap: its format, its reading on the far side, its writing on the near one.

``format`` and ``reading`` travel: with ``installer``, ``errors`` and ``target.probe`` they are put together into one
file, ``install.py``, and so are written for Python 3.6 and its standard library alone (docs/adr/0021). ``writing``
stays on the connected machine, where mirror and libraries are.
"""
