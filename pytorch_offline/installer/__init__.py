"""Install from a mirror directory with no network, and prove that it worked.

The way: survey the destination (``survey.py``, run there) → pick the lock that fits it (``lock``, ``fitness``,
``closure``) → check every needed file against manifest and lock (``preflight``) → drive pip or uv
(``installer_line``) → prove (``proof``). ``plan``, ``carry_out`` and ``prove`` hold the effects together with
``destination``, ``pips`` and ``preflight``; the others take values and give values.
"""
