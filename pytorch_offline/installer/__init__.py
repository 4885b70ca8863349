"""Put a bundle's wheels into an environment with no network, and prove that they work there.

Everything here travels: it is put together into ``install.py`` and so written for Python 3.6 and its standard library
(docs/adr/0021). ``command`` is the stand-alone's command line, ``cli/install.py`` the package's; both call ``steps``,
which has the order of things. ``fitness``, ``preflight``, ``programs`` and ``plan`` judge values; ``destination`` and
``survey`` see the environment, the one from outside, the other under its own interpreter.
"""
