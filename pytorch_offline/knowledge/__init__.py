"""Tables of facts, with a source for each row, and their typed readers."""
