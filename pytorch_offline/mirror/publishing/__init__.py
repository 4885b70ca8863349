"""The public tree of a mirror, brought to another place so that a reader there finds only links to what is there.

Theory of operation. What belongs at the destination follows from the manifest's rows alone: wheels and their METADATA,
the index pages rendered from the rows, locks, the manifest (``plan.py``: values in, values out). Files are read once,
in pieces that several threads send, and get their name there only if their hash agreed (``sending.py``). Then pages
follow, what leads to others after what it leads to, then the manifest; removals, where asked for, come last
(``publish.py``). Where it goes is behind one port (``destination.py``): a directory, or an S3-compatible bucket.

Nothing is remembered between runs but what lies at the destination, so that any run continues any other one.
"""
