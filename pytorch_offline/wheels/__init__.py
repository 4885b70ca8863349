"""Wheels as files: names, backends, core metadata, RECORD, remote zip directories."""
