"""Data: real names and requirement lines as CSV, and the source of the module that stands in for torch.

``torch.py.txt`` runs on Python 3.6 and later; it is text here, as nothing in this package imports it.
"""
