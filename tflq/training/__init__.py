"""Optimization by training: pruning, weight clustering and quantization-aware training of the float model."""
