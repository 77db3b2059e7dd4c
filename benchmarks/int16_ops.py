"""SQNR and size of int8 files, without corrections, with a growing share of ops in 16 bits, and the same in float.

`python -m benchmarks.int16_ops MODEL=DATA.npz...`: the .npz has a column for each input, already as the model takes it.
The even rows calibrate, and the odd ones measure. Ops are taken in the order in which `tflq search` ranks them. With
--corrected, the files have the default corrections.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import fidelity
from tflq.op_dtypes import QUANTIZABLE
from tflq.pipeline import Settings
from tflq.recipe import Recipe
from tflq.recipe import load as load_recipe
from tflq.search.op_search import ranked_ops
from tflq.search.space import OP_KEYS, SearchRequest, space, with_ops
from tflq.search.state import SearchState
from tflq.search_section import OpKey
from tflq.trials import TrialLimits, TrialRunner, open_trials, quality

SHARES = (0.0, 0.05, 0.10, 0.25, 1.0)
WHERE = {"keep_float": "float", "keep_int16": "16 bits"}
MOST = 100
"""Rows that calibrate, at most, and that measure."""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int16_ops", description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL=DATA.npz")
    parser.add_argument("--corrected", action="store_true")
    options = parser.parse_args(arguments)
    shares = " | ".join(f"{100 * share:.0f} %" for share in SHARES)
    print(f"| model | ops | named ops in | {shares} |\n| --- | ---: | --- |{' ---: |' * len(SHARES)}")
    for argument in options.models:
        model, _, data = argument.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            recipe = _recipe(Path(model).resolve(), Path(data), Path(folder), options.corrected)
            for line in _lines(recipe):
                print(line, flush=True)


def _recipe(model: Path, data: Path, folder: Path, is_corrected: bool) -> Recipe:
    columns = fidelity.load(data)
    paths = [folder / "calibration.npz", folder / "evaluation.npz"]
    for number, path in enumerate(paths):
        np.savez(path, allow_pickle=False, **{key: column[number::2][:MOST] for key, column in columns.items()})
    file, converter = folder / f"{model.name}.yaml", "" if is_corrected else "converter: {bias_correction: 'off'}\n"
    file.write_text(
        f"model: {model}\nvariants: [int8]\ncalibration: {{dataset: {{npz: {paths[0]}}}, ranges: minmax}}\n"
        f"evaluation: {{dataset: {{npz: {paths[1]}}}}}\ngates: {{min_sqnr_db: 0}}\nlatency: off\n{converter}"
        "search: {allow: [keep_float, keep_int16]}\n"
    )
    return load_recipe(file)


def _lines(recipe: Recipe) -> Iterator[str]:
    with open_trials(recipe, Settings(), TrialLimits(None, None)) as runner:
        request = SearchRequest(modes=("int8",))
        state = SearchState(runner, space(recipe, request, runner.is_observed), (), "size")
        base = runner.resolve_auto(state.space.families[0])
        state = replace(state, space=replace(state.space, families=(base.variant,)))
        ranked = ranked_ops(state, base)
        for key in OP_KEYS:
            yield _line(runner, state, (base, key), ranked)


def _line(runner: TrialRunner, state: SearchState, which: tuple[Any, OpKey], ranked: Sequence[int]) -> str:
    base, key = which
    types = {op.index: op.type for op in runner.graph.subgraphs[0].operators}
    usable = [op for op in ranked if key == "keep_float" or types[op] in QUANTIZABLE["int16"]]
    counts = [math.ceil(share * len(usable)) for share in SHARES]
    trials = [with_ops(base, state.space.recipe_trial(base), key, usable[:count]) for count in counts]
    results = runner.run(trials)
    first, cells = results[0].figures, []
    for result in results:
        figures = result.figures
        if figures is None or first is None:
            print(f"{runner.recipe.name}, {WHERE[key]}: {result.reason}", file=sys.stderr)
            cells.append("–")
            continue
        growth = 100 * (figures.file.size_bytes / first.file.size_bytes - 1)
        cells.append(f"{quality(figures, runner.recipe.measured_on):.1f} dB, {growth:+.0f} %")
    return f"| {runner.recipe.name} | {len(usable)} | {WHERE[key]} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main(sys.argv[1:])
