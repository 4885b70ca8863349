"""Which wheels a target can run, and which of them is the better one: functions from values to values."""
