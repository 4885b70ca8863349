"""Merging a bundle into a mirror on the far side: what is lacking, from which medium, in one generation."""
