"""What a new user runs first; from the root, such as `python -m examples.digits.train`."""
