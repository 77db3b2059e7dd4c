"""The smallest or fastest file that meets the recipe's bars: found by trials on some samples, confirmed on others.

It exports nothing, so that the command line reads `options` without importing the rest.
"""
