"""Calibration: read and check samples, observe the activations, and select the range of each."""
