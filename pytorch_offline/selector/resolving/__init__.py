"""One closure that fits together, over all backends that run; where there is none, what contradicts what."""
