"""Compile the C++ source of the digits classifier, and run its array against its golden vectors on this machine.

The interpreter is that of TensorFlow Lite Micro, if its wheel tflite-micro is installed. Otherwise it is
LiteRT's, with reference kernels.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
BUILD = HERE / "build"
NAME = "digits-int8_only"
MAX_STEPS = 1
"""Kernels may round the same sum to neighbouring integers."""


def main() -> int:
    """Print what was compared, and return 0 if the outputs are those of the golden vectors."""
    with tempfile.TemporaryDirectory() as folder:
        facts, quantized = compiled(Path(folder)).splitlines()
        content, inputs, expected = (Path(folder, name).read_bytes() for name in ("array", "inputs", "outputs"))
    arena, count = (int(word) for word in facts.split()[:2])
    is_same = content == (BUILD / f"{NAME}.tflite").read_bytes()
    print(f"the array in C++ is {'' if is_same else 'NOT '}the .tflite file, of {len(content):,} bytes")
    print(f"the arena has {arena:,} bytes, and the resolver these ops: {' '.join(facts.split()[3:])}")
    print(f"white is quantized to {quantized.split()[0]}, and back to {quantized.split()[1]}")
    images = np.frombuffer(inputs, np.int8).reshape(count, 1, 8, 8, 1)
    answers, kernels = run(content, images, arena)
    steps = int(np.abs(answers.astype(int) - np.frombuffer(expected, np.int8).reshape(answers.shape)).max())
    print(f"{kernels}: {count} golden vectors, the largest difference is {steps} of 255 steps")
    return 0 if is_same and steps <= MAX_STEPS else 1


def compiled(folder: Path) -> str:
    """Return what the program prints. It writes the array and the golden vectors into the folder."""
    sources = [HERE / "host.cc", BUILD / f"{NAME}.cc", BUILD / f"{NAME}_golden.cc"]
    program = folder / "host"
    flags = ["-std=c++11", "-Wall", "-Werror", f"-I{BUILD}"]
    subprocess.run(["g++", *flags, *map(str, sources), "-o", str(program)], check=True)
    return subprocess.run([str(program), str(folder)], check=True, capture_output=True, text=True).stdout


def run(content: bytes, images: np.ndarray, arena: int) -> tuple[np.ndarray, str]:
    """Return the outputs for the images, and the name of the kernels."""
    try:
        from tflite_micro import runtime
    except ImportError:
        from tflq.interpreter import reference_outputs

        found = reference_outputs(content, [[image] for image in images])
        return np.stack([output for (output,) in found.calls]), found.kernels
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)
    outputs = []
    for image in images:
        interpreter.set_input(image, 0)
        interpreter.invoke()
        outputs.append(np.array(interpreter.get_output(0)))
    return np.stack(outputs), f"TensorFlow Lite Micro in an arena of {arena:,} bytes"


if __name__ == "__main__":
    sys.exit(main())
