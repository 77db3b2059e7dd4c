"""tflq against the script that one would write by hand, on the same work in the same run."""
