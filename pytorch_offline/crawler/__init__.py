"""Upstream's index pages, read into the catalogue."""
