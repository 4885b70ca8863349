"""What the indexes have: which are read, what they offer, what their wheels say. The effects of the selector."""
