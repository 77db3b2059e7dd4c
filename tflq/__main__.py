"""`python -m tflq` is the command tflq."""

from tflq.cli import main

if __name__ == "__main__":
    main(prog_name="tflq")
