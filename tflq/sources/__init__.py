"""The kinds of float model, their copies with one signature and known shapes, and their predictions in TensorFlow."""
