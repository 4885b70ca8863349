"""The page for people at ``/``: what this mirror holds, how to install it, and how fresh it is."""
