"""What is asked for: requirements, files of them, locks and addresses, read into a request."""
