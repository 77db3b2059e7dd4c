"""What firmware needs beside the file: how to feed it and how to read it."""

from tflq.firmware.io_row import IoRow, code_lines, io_rows, with_preprocessing

__all__ = ["IoRow", "code_lines", "io_rows", "with_preprocessing"]
