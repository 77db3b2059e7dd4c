"""Rules that every .tflite file must follow, whatever its mode. Each says which runtime suffers.

The rules come from the LiteRT 8-bit quantization specification, from the operator properties of TensorFlow's quantizer,
and from the checks of LiteRT's kernels. They were tried on files of every mode that TensorFlow 2.21 writes, and on
files of other makers. What is against the specification, but was seen to be harmless, is a warning.
"""
