"""Our choices beside those of pip and uv, from the same upstream, for hundreds of generated cases."""
