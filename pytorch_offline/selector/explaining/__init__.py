"""Why this, why not that, and what would work instead: from values to words and documents."""
