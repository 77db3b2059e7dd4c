"""Compare files of TFLiteConverter, of LiteRT Quantizer and of tflq, whose defaults are kept except for measuring.

In tflq, `latency` is off and `evaluation.samples` is 1, since the files are measured here. LiteRT Quantizer makes
static int8 files.

`python -m benchmarks.accuracy MODEL=DATA.npz...` does it for SavedModels and Keras models; the .npz has a column for
each input, already as the model takes it. Two rows of three calibrate, and the third measures; each third does so in
its turn, and the figures are means. `--train CIFAR10.npz` trains three small networks on its `image` and `label` first,
and adds them. `--regret` also makes a file with every combination of corrections. It prints how much nearer the best of
them is than the file that tflq keeps by default. This takes long. `--mode int16x8` measures only that mode.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks import fidelity, networks, regret, rivals
from benchmarks.conversions import MODES, Part

OURS, STOCK, OTHER = "tflq", rivals.STOCK, rivals.LITERT
PARTS = 3
"""The number of parts of the rows. Each part measures files that were calibrated with the others."""
MOST = 150
"""Rows that calibrate, at most, and that measure."""


@dataclass(frozen=True)
class Row:
    """One output of one model in one mode."""

    model: str
    mode: str
    output: str
    sqnr_db: Mapping[str, float]
    agreement: Mapping[str, float]
    size_bytes: Mapping[str, float]


def main(arguments: Sequence[str]) -> None:
    options = _parsed(arguments)
    if not find_spec(rivals.PACKAGE):
        print(f"{rivals.PACKAGE} is not installed, so the column of {OTHER} stays empty", file=sys.stderr)
    rows: list[Row] = []
    regrets: list[regret.Regret] = []
    with tempfile.TemporaryDirectory() as folder:
        for model, data in _subjects(options, Path(folder)):
            parts = [_part(model, data, Path(folder), number) for number in range(options.parts)]
            found = [_rows(part, options.mode or MODES) for part in parts]
            rows += _means(found)
            print("\n".join(table(_means(found))), file=sys.stderr)
            if options.regret:
                regrets += regret.of_model(parts, [_decibels(one) for one in found])
                print("\n".join(regret.table(regrets)), file=sys.stderr)
    print("\n".join(table(rows)))
    if options.regret:
        print("\n".join(["", *regret.table(regrets)]))


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL=DATA.npz")
    parser.add_argument("--train", type=Path, metavar="CIFAR10.npz")
    parser.add_argument("--regret", action="store_true")
    parser.add_argument("--mode", action="append", choices=MODES, help="measure only this mode; may be repeated")
    parser.add_argument(
        "--parts", type=int, choices=range(1, PARTS + 1), default=PARTS, help="measure only these thirds"
    )
    return parser.parse_args(arguments)


def _subjects(options: argparse.Namespace, folder: Path) -> Iterator[tuple[Path, Path]]:
    for argument in options.models:
        model, _, data = argument.partition("=")
        yield Path(model).resolve(), Path(data)
    if options.train:
        yield from networks.trained(options.train, folder)


def _part(model: Path, data: Path, folder: Path, number: int) -> Part:
    """Write the rows that calibrate and those that measure."""
    part = Part(model, folder / f"{model.stem}-{number}", f"part {number + 1} of {PARTS}")
    part.home.mkdir()
    columns = fidelity.load(data)
    measures = np.arange(len(next(iter(columns.values())))) % PARTS == number
    for path, rows in {part.calibrates: ~measures, part.measures: measures}.items():
        np.savez(path, **{key: column[rows][:MOST] for key, column in columns.items()})
    return part


def _rows(part: Part, modes: Sequence[str]) -> list[Row]:
    part.say("the default, and what others make")
    files = _files(part, modes)
    measured = dict(zip(files, fidelity.measure(list(files.values()), part.float32, part.measures), strict=True))
    return [row for mode in modes for row in _compared(part.model.stem, mode, files, measured)]


def _means(parts: Sequence[Sequence[Row]]) -> list[Row]:
    """Return the mean over the parts for each output. An output without figures in a part is left out."""
    keyed = [{(row.mode, row.output): row for row in rows} for rows in parts]
    return [_mean([part[key] for part in keyed]) for key in keyed[0] if all(key in part for part in keyed)]


def _mean(rows: Sequence[Row]) -> Row:
    """Return the mean of rows of the same output, which were measured on different samples."""
    sqnr_db, agreement, size = (
        {maker: statistics.fmean(figures[maker] for figures in found) for maker in found[0]}
        for found in ([one.sqnr_db for one in rows], [one.agreement for one in rows], [one.size_bytes for one in rows])
    )
    return replace(rows[0], sqnr_db=sqnr_db, agreement=agreement, size_bytes=size)


def _decibels(rows: Sequence[Row]) -> dict[tuple[str, str], float]:
    """Return the SQNR by quantizer and mode: the mean of the outputs, in dB."""
    return {
        (maker, mode): regret.mean_sqnr_db([row.sqnr_db[maker] for row in rows if row.mode == mode])
        for mode in {row.mode for row in rows}
        for maker in (STOCK, OURS)
    }


def _files(part: Part, modes: Sequence[str]) -> dict[tuple[str, str], Path]:
    """Return the files by quantizer and mode. A file that a quantizer cannot make is missing."""
    made = part.convert("default", ["float32", *modes])
    ours = {(OURS, mode): made[mode] for mode in modes if mode in made}
    command = [sys.executable, "-m", "benchmarks.rivals", str(part.model), str(part.float32), str(part.home)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    if ran.returncode:
        part.say(f"other quantizers failed: {ran.stderr.strip().splitlines()[-1:]}")
    return ours | {key: path for key, name in rivals.FILES.items() if (path := part.home / name).exists()}


def _compared(
    model: str, mode: str, files: Mapping[tuple[str, str], Path], measured: Mapping[tuple[str, str], object]
) -> list[Row]:
    """Return a row for each output; none if tflq or the stock converter has no file that runs."""
    found: dict[str, tuple[fidelity.OutputFigures, ...]] = {}
    for maker in (STOCK, OTHER, OURS):
        figures = measured.get((maker, mode), "there is no file")
        if isinstance(figures, tuple):
            found[maker] = figures
        elif (maker, mode) != (OTHER, "int16x8"):
            print(f"{model}, {mode}: nothing of {maker}: {figures}", file=sys.stderr)
    if not found.keys() >= {STOCK, OURS}:
        return []
    sizes = {maker: float(files[maker, mode].stat().st_size) for maker in found}
    return [
        Row(
            model,
            mode,
            one.output,
            {maker: figures[place].sqnr_db for maker, figures in found.items()},
            {maker: figures[place].agreement for maker, figures in found.items()},
            sizes,
        )
        for place, one in enumerate(found[OURS])
    ]


def table(rows: Sequence[Row]) -> list[str]:
    """Return a Markdown table, and a summary for each mode."""
    lines = [
        f"| model, mode | output | {STOCK} | {OTHER} | {OURS} | more than stock | agreement | bytes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = [f"{row.sqnr_db[maker]:.1f} dB" if maker in row.sqnr_db else "" for maker in (STOCK, OTHER, OURS)]
        agreement = f"{row.agreement[STOCK]:.3f} → {row.agreement[OURS]:.3f}"
        size = f"{100 * (row.size_bytes[OURS] / row.size_bytes[STOCK] - 1):+.2f} %"
        cells += [f"{gain(row):+.1f} dB", agreement, size]
        lines.append(f"| {row.model}, {row.mode} | {row.output} | {' | '.join(cells)} |")
    return [*lines, "", *(line for mode in MODES for line in _summary(mode, [r for r in rows if r.mode == mode]))]


def gain(row: Row) -> float:
    return row.sqnr_db[OURS] - row.sqnr_db[STOCK]


def _summary(mode: str, rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    gains = [gain(row) for row in rows]
    by_model = [
        statistics.mean([gain(row) for row in rows if row.model == model]) for model in {row.model for row in rows}
    ]
    largest = max(row.size_bytes[OURS] / row.size_bytes[STOCK] - 1 for row in rows)
    yield (
        f"{mode}: {statistics.median(by_model):+.1f} dB over the stock converter in the median of {len(by_model)}"
        f" models, {min(gains):+.1f} dB at the worst output, {100 * largest:+.2f} % bytes at most."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
