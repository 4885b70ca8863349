"""Many targets at once: what they share, and what sharing saves."""
