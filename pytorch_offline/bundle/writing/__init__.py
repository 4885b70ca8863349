"""Writing a bundle on the connected machine: what belongs in it, in which volumes, signed and described."""
