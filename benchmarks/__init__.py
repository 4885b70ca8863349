"""Programs that measure against what people use today; see README.md."""
