"""Bytes, SQNR and time of files with float activations: dynamic, weights8 and dynamic4.

`python -m benchmarks.low_bits MODEL=DATA.npz...`: the .npz has a column for each input, already as the model takes it.
The even rows calibrate, and the odd ones measure. The last two columns are float32 files whose weights were rounded to
four and two bits with one scale per channel, which shows what such a mode would cost; tflq has none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import fidelity
from tflq.errors import TflqError
from tflq.flatbuffer import ROLES, constants, edit

MODES = ("dynamic", "weights8", "dynamic4")
TFLQ = [sys.executable, "-c", "from tflq.cli import main; main()"]
MOST = 100
"""Rows that calibrate, at most, and that measure."""
BITS = (4, 2)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.low_bits", description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL=DATA.npz")
    columns = ["float32", *MODES, "dynamic4, plain", *(f"{bits} bits per channel" for bits in BITS)]
    print(f"| model | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for argument in parser.parse_args(arguments).models:
        model, _, data = argument.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            cells = _cells(Path(model).resolve(), Path(data), Path(folder))
            print(f"| {Path(model).stem} | {' | '.join(cells)} |", flush=True)


def _cells(model: Path, data: Path, folder: Path) -> Iterator[str]:
    columns = fidelity.load(data)
    paths = [folder / "calibration.npz", folder / "evaluation.npz"]
    for number, path in enumerate(paths):
        np.savez(path, allow_pickle=False, **{key: column[number::2][:MOST] for key, column in columns.items()})
    variants = f"[float32, {', '.join(MODES)}, {{mode: dynamic4, name: plain, bias_correction: 'off'}}]"
    (folder / "net.yaml").write_text(
        f"model: {model}\nvariants: {variants}\ncalibration: {{dataset: {{npz: {paths[0]}}}, samples: all}}\n"
        f"evaluation: {{dataset: {{npz: {paths[1]}}}, samples: all}}\noutput: out\n"
    )
    subprocess.run([*TFLQ, "convert", str(folder / "net.yaml")], capture_output=True, check=False)
    variants = json.loads((folder / "out/report.json").read_text())["variants"]
    yield from (_cell(variant) for variant in variants)
    float32 = folder / "out/net-float32.tflite"
    files = [_rounded(float32, bits) for bits in BITS]
    for figures in fidelity.measure(files, float32, paths[1]):
        yield "–" if isinstance(figures, TflqError) else f"{min(each.sqnr_db for each in figures):.1f} dB"


def _cell(variant: Mapping[str, Any]) -> str:
    if variant["error"]:
        return str(variant["error"]).partition("mode dynamic4: ")[2].partition(" of the bytes")[0] + " dense: refused"
    sqnr = [each["sqnr_db"] for each in variant["fidelity"].values() if each["sqnr_db"] is not None]
    quality = f"{min(sqnr):.1f} dB, " if sqnr else ""
    return f"{variant['size_bytes'] / 1000:,.0f} kB, {quality}{variant['latency_ms']['median']:.2f} ms"


def _rounded(float32: Path, bits: int) -> Path:
    """Return a float32 file whose weights were rounded to so many bits, with one scale for each output channel."""
    model, largest = edit.unpack(float32.read_bytes()), 2 ** (bits - 1) - 1
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            roles = ROLES.get(edit.type_of(model.operatorCodes[operator.opcodeIndex]))
            tensor = subgraph.tensors[operator.inputs[roles.weights]] if roles else None
            if roles is None or tensor is None or not constants.is_float32_constant(model, tensor):
                continue
            values = constants.float32_values(model, tensor).astype(np.float64)
            others = tuple(axis for axis in range(values.ndim) if axis != roles.channels)
            scale = np.maximum(np.abs(values).max(axis=others, keepdims=True) / largest, 1e-30)
            tensor.buffer = constants.add_buffer(model, (np.rint(values / scale) * scale).astype("<f4"))
    edit.drop_unused_buffers(model)
    target = float32.with_name(f"{bits}-bits.tflite")
    edit.write(model, target)
    return target


if __name__ == "__main__":
    main(sys.argv[1:])
