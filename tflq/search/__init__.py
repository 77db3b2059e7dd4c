"""Search for the smallest or fastest file that passes the gates: selected on some samples, confirmed on others.

This package exports nothing, so that the command line can read `options` without importing the rest.
"""
