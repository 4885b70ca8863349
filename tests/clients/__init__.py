"""Real clients against the mirror: the same closure from every server, and nothing asked of anybody else."""
