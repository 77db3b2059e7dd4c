"""Metrics, paired statistics and fidelity, in NumPy alone."""
