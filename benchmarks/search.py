"""A search against what a conversion takes: `python -m benchmarks.search RECIPE...`.

For each recipe the stock converter makes int8 of its model from its calibration samples, in a process that has imported
TensorFlow before it is timed; then a search is timed, with nothing kept but what its trials are made of.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tflq import load
from tflq.calibrate.samples import read_samples
from tflq.pipeline import Settings
from tflq.search.run import search
from tflq.search.search_result import SearchResult, sentence
from tflq.search.space import SearchRequest
from tflq.sources.prepare import prepare
from tflq.trials import TrialLimits, is_trial
from tflq.worker import Event, Finished, Started

STOCK = "stock"
RUNS = 3


def main(recipes: list[Path]) -> None:
    print(f"# Searching\n\n{os.cpu_count()} processors. `share`: one trial's part of a stock conversion.\n")
    print("| recipe | stock int8, s | trials | one trial, s | share | all, s | found |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for recipe in recipes:
        command = [sys.executable, "-m", "benchmarks.search", STOCK, str(recipe)]
        before = [_stock_in_its_own_process(command) for _ in range(RUNS)]
        one, outcome, seconds = _searched(recipe)
        stock = statistics.median([*before, *(_stock_in_its_own_process(command) for _ in range(RUNS))])
        cells = [f"{stock:.2f}", str(outcome.trials), f"{one:.2f}", f"{one / stock:.0%}", f"{seconds:.1f}"]
        print(f"| {recipe.stem} | {' | '.join(cells)} | {sentence(outcome).split(';')[0]} |", flush=True)


def _searched(recipe: Path) -> tuple[float, SearchResult, float]:
    """Seconds for one trial, as many at a time as there are processors; what was found; seconds of the whole."""
    running, began, taken = set[str](), 0.0, 0.0

    def listen(event: Event) -> None:
        nonlocal began, taken
        if is_trial(event) and isinstance(event, Started):
            began = time.monotonic() if not running else began
            running.add(event.stage)
        elif is_trial(event) and isinstance(event, Finished):
            running.discard(event.stage)
            taken += 0.0 if running else time.monotonic() - began

    with tempfile.TemporaryDirectory() as folder:
        loaded = load(recipe).model_copy(update={"output": Path(folder)})
        start = time.monotonic()
        outcome = search(loaded, SearchRequest(), Settings(listen=listen), TrialLimits(250))
        return taken / outcome.trials, outcome, time.monotonic() - start


def _stock_in_its_own_process(command: list[str]) -> float:
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def stock(recipe: Path) -> None:
    """Print the seconds of a conversion as a script makes it; the samples are made before."""
    import tensorflow as tf

    loaded = load(recipe)
    assert loaded.calibration is not None
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(_silent, loaded.model, loaded.inputs, Path(folder, "source"))
        held = read_samples(_silent, loaded.calibration, loaded.inputs, prepared, Path(folder, "samples")).samples
        calls = list(held.calls(range(held.number_of_calls)))

        def feed() -> Iterator[dict[str, np.ndarray]]:
            yield from calls

        start = time.monotonic()
        converter = tf.lite.TFLiteConverter.from_saved_model(str(prepared.path))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = feed
        converter.convert()
        print(time.monotonic() - start)


def _silent(*_: object) -> None:
    pass


if __name__ == "__main__":
    if sys.argv[1] == STOCK:
        stock(Path(sys.argv[2]))
    else:
        main([Path(argument) for argument in sys.argv[1:]])
