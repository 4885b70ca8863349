"""Choose the wheels for a target: rank or reject with a reason, resolve, lock."""
