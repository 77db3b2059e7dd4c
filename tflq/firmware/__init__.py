"""Files for firmware beside the .tflite file: the I/O card, C++ source, golden vectors and a stripped file."""
