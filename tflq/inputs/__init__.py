"""Convert rows to samples. Calibration, training and evaluation use the same definition of each model input."""
