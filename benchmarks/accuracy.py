"""How near files are to the float model: the stock converter's, LiteRT Quantizer's static int8, and tflq's as it comes.

`python -m benchmarks.accuracy MODEL=DATA.npz...` does it for SavedModels and Keras models; the .npz has a column for
each input, already as the model takes it. Two rows of three calibrate, and the third measures; each third does so in
its turn, and the figures are means. `--train CIFAR10.npz` trains three small networks on its `image` and `label` first,
and adds them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from benchmarks import networks, rivals
from tflq.errors import EvaluationError
from tflq.interpreter import Runner
from tflq.metrics import errors, fidelity
from tflq.pipeline import Settings, run
from tflq.recipe import load

Arrays = Mapping[str, np.ndarray]
OURS, STOCK, OTHER = "tflq", "TFLiteConverter", "LiteRT Quantizer"
MODES = ("int8", "int16x8")
PARTS = 3
"""Of the rows; one measures what the others calibrated."""
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
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for model, data in _subjects(arguments, Path(folder)) for row in _rows(model, data, Path(folder))]
    print("\n".join(table(rows)))


def _subjects(arguments: Sequence[str], folder: Path) -> Iterator[tuple[Path, Path]]:
    given = iter(arguments)
    for argument in given:
        if argument == "--train":
            yield from networks.trained(Path(next(given)), folder)
        else:
            model, _, data = argument.partition("=")
            yield Path(model), Path(data)


def _rows(model: Path, data: Path, folder: Path) -> list[Row]:
    parts = [_rows_of_part(model, data, folder, part) for part in range(PARTS)]
    return [_mean(rows) for rows in zip(*parts, strict=True)]


def _rows_of_part(model: Path, data: Path, folder: Path, part: int) -> list[Row]:
    home = folder / f"{model.stem}-{part}"
    print(f"{home.name} …", file=sys.stderr)
    home.mkdir()
    with np.load(data) as held:
        columns = {name: held[name] for name in held.files}
    count = len(next(iter(columns.values())))
    measures = np.arange(count) % PARTS == part
    for name, rows in {"calibrate": ~measures, "measure": measures}.items():
        np.savez(home / f"{name}.npz", **{key: column[rows][:MOST] for key, column in columns.items()})
    files = _files(model, home)
    return [row for mode in MODES for row in _compared(model.stem, mode, files, home / "measure.npz")]


def _mean(rows: Sequence[Row]) -> Row:
    """Of the same output, measured on different rows."""
    sqnr_db, agreement, size = (
        {maker: statistics.fmean(figures[maker] for figures in found) for maker in found[0]}
        for found in ([one.sqnr_db for one in rows], [one.agreement for one in rows], [one.size_bytes for one in rows])
    )
    return replace(rows[0], sqnr_db=sqnr_db, agreement=agreement, size_bytes=size)


def _files(model: Path, home: Path) -> dict[tuple[str, str], Path]:
    """Of whom and in which mode; what somebody cannot make is missing."""
    shapes = {name: list(rows.shape) for name, rows in _load(home / "calibrate.npz").items()}
    recipe = {
        "model": {"keras": str(model)} if model.suffix == ".keras" else str(model),
        "inputs": {name: {"shape": [1, *shape[1:]]} for name, shape in shapes.items()},
        "calibration": {"dataset": {"npz": str(home / "calibrate.npz")}, "samples": MOST, "seed": "first"},
        "variants": ["float32", *MODES],
        "latency": "off",
        "output": str(home / "ours"),
    }
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    made = run(load(home / "recipe.yaml"), Settings())
    ours = {(OURS, one.name): home / "ours" / one.file.name for one in made.variants if one.file and not one.error}
    command = [sys.executable, "-m", "benchmarks.rivals", str(model), str(ours[OURS, "float32"]), str(home)]
    subprocess.run(command, check=True, capture_output=True)
    return ours | {key: path for key, name in rivals.FILES.items() if (path := home / name).exists()}


def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as held:
        return {name: held[name] for name in held.files}


def _compared(model: str, mode: str, files: Mapping[tuple[str, str], Path], data: Path) -> list[Row]:
    samples = list(_samples(data))
    truth = [Runner(files[OURS, "float32"])(sample) for sample in samples]
    answers: dict[str, list[Arrays]] = {}
    for maker in (STOCK, OTHER, OURS):
        if (maker, mode) == (OTHER, "int16x8"):
            continue
        try:
            answers[maker] = [Runner(files[maker, mode])(sample) for sample in samples]
        except (KeyError, EvaluationError) as error:
            print(f"{model}, {mode}: nothing of {maker}: {error}", file=sys.stderr)
    if not answers.keys() >= {STOCK, OURS}:
        return []
    sizes = {maker: float(files[maker, mode].stat().st_size) for maker in answers}
    return [
        Row(
            model,
            mode,
            output,
            {maker: _sqnr_db(truth, found, place) for maker, found in answers.items()},
            {maker: _agreement(truth, found, place) for maker, found in answers.items()},
            sizes,
        )
        for place, output in enumerate(truth[0])
    ]


def _samples(data: Path) -> Iterator[Arrays]:
    columns = _load(data)
    for row in range(len(next(iter(columns.values())))):
        yield {name: rows[row : row + 1] for name, rows in columns.items()}


def _sqnr_db(truth: Sequence[Arrays], answers: Sequence[Arrays], place: int) -> float:
    pairs = zip(truth, answers, strict=True)
    return fidelity(np.stack([errors(_output(one, place), _output(other, place)) for one, other in pairs])).sqnr_db


def _agreement(truth: Sequence[Arrays], answers: Sequence[Arrays], place: int) -> float:
    pairs = zip(truth, answers, strict=True)
    return float(np.mean([_output(one, place).argmax(-1) == _output(other, place).argmax(-1) for one, other in pairs]))


def _output(answers: Arrays, place: int) -> np.ndarray:
    """By its place: the other quantizer names outputs anew."""
    return answers[sorted(answers)[place]]


def table(rows: Sequence[Row]) -> list[str]:
    """As Markdown, and what it comes to."""
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
    by_model = [np.mean([gain(row) for row in rows if row.model == model]) for model in {row.model for row in rows}]
    largest = max(row.size_bytes[OURS] / row.size_bytes[STOCK] - 1 for row in rows)
    yield (
        f"{mode}: {statistics.median(by_model):+.1f} dB over the stock converter in the median of {len(by_model)}"
        f" models, {min(gains):+.1f} dB at the worst output, {100 * largest:+.2f} % bytes at most."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
