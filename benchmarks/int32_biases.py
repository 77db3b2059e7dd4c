"""Files of int16x8 with int64 and with int32 biases, with the default corrections: bytes, time and SQNR.

`python -m benchmarks.int32_biases MODEL=DATA.npz...`: the .npz has a column for each input, already as the model takes
it. The even rows calibrate, and the odd ones measure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import fidelity
from tflq import convert
from tflq.result import Variant

MOST = 40
"""Rows that calibrate, at most, and that measure."""
RECIPE = """\
model: {model}
inputs: {{{inputs}}}
calibration: {{dataset: {{npz: {calibration}}}, samples: all}}
evaluation: {{dataset: {{npz: {evaluation}}}, samples: all}}
variants:
  - {{mode: int16x8, name: int64, bias_type: int64}}
  - {{mode: int16x8, name: int32, bias_type: int32}}
output: {output}
"""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int32_biases", description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL=DATA.npz")
    print("| model | biases | bytes | ms | SQNR of the worst output |\n| --- | --- | ---: | ---: | ---: |")
    for argument in parser.parse_args(arguments).models:
        model, _, data = argument.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            for line in _lines(Path(model).resolve(), Path(data), Path(folder)):
                print(line, flush=True)


def _lines(model: Path, data: Path, folder: Path) -> list[str]:
    columns, parts = fidelity.load(data), [folder / "calibration.npz", folder / "evaluation.npz"]
    for number, path in enumerate(parts):
        np.savez(path, allow_pickle=False, **{key: column[number::2][:MOST] for key, column in columns.items()})
    recipe, inputs = folder / "recipe.yaml", (f"{key}: {{shape: {[1, *c.shape[1:]]}}}" for key, c in columns.items())
    paths = {"calibration": parts[0], "evaluation": parts[1], "output": folder / "build"}
    recipe.write_text(RECIPE.format(model=model, inputs=", ".join(inputs), **paths), encoding="utf-8")
    variants = {variant.name: variant for variant in convert(recipe).variants}
    before, after = variants["int64"], variants["int32"]
    return [
        f"| {model.name} | int64 | {_cells(before)} |",
        f"| {model.name} | int32 | {_cells(after)} |",
    ]


def _cells(variant: Variant) -> str:
    if variant.file is None or variant.measured is None or variant.measured.latency_ms is None:
        return f"{variant.error or 'not measured'} | – | –"
    worst = min(each.sqnr_db or 0.0 for each in variant.measured.fidelity.values())
    return f"{variant.file.size_bytes:,} | {variant.measured.latency_ms.median:.3f} | {worst:.1f} dB"


if __name__ == "__main__":
    main(sys.argv[1:])
