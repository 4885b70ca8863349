"""The directory of verified wheels: download, admission, index pages, verification."""
