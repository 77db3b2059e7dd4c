"""Outputs of a model that are recorded in files, so that it need not run when they are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np

from tflq.calibrate.samples import fingerprint
from tflq.datasets import Sample
from tflq.evaluate.plan import EvaluationPlan, rows_and_samples, split, stack
from tflq.interpreter import Runner
from tflq.sources.prepare import reference
from tflq.worker import ProgressCallback

SOURCE, FLOAT32 = "the source", "the float32 baseline"
"""Names of the source model and the float32 file among the subjects. No variant can have them."""
MAX_RECORDED_BYTES = 1 << 28
"""The largest size of all outputs that are recorded."""
FIRST = "first.npy"
"""The name of the file of the outputs of the plan's first call."""
Run = Callable[[Sample], Mapping[str, np.ndarray]]
"""A model as a function from the input arrays of one call to the output arrays."""


def save_outputs(outputs: Mapping[str, np.ndarray], path: Path) -> None:
    """Write the names of the outputs, and then their arrays."""
    content = BytesIO()
    for array in (np.array([*outputs], np.str_), *outputs.values()):
        np.save(content, array)
    path.write_bytes(content.getbuffer())


def load_outputs(path: Path) -> Sample:
    """Return the outputs that `save_outputs` wrote."""
    with path.open("rb") as file:
        return {str(name): np.load(file) for name in np.load(file)}


def record_outputs(
    report: ProgressCallback, plan: EvaluationPlan, subject: str, indices: Sequence[int], folder: Path
) -> bool:
    """Run a subject of the plan over the rows with those increasing indices, and write its outputs into a new folder.

    They are found again by the fingerprints of the samples, since a dataset may yield other samples the next time.
    Return False without outputs if they would be larger than MAX_RECORDED_BYTES.
    """
    run = loaders(plan)[subject]()
    first = run(plan.first)
    calls = 1 + len(indices) // (plan.source.batch or 1)
    if calls * sum(output.nbytes for output in first.values()) > MAX_RECORDED_BYTES:
        return False
    folder.mkdir(exist_ok=True)  # a process that crashed may have made it
    save_outputs(first, folder / FIRST)
    done = 0
    for _, _, samples in rows_and_samples(plan, indices):
        outputs = split(run(stack(samples, plan.source)), len(samples), plan.source)
        for sample, output in zip(samples, outputs, strict=True):
            save_outputs(output, _file(folder, fingerprint(sample)))
        done += len(samples)
        report(done, len(indices))
    return True


def loaders(plan: EvaluationPlan) -> dict[str, Callable[[], Run]]:
    """Return for each subject of the plan the function that loads it, the float32 file first."""
    found: dict[str, Callable[[], Run]] = {FLOAT32: partial(Runner, plan.float32)}
    found |= {name: partial(Runner, path) for name, path in plan.files.items()}
    return found | ({SOURCE: partial(reference, plan.source)} if plan.runs_source else {})


def _file(folder: Path, fingerprint: str) -> Path:
    return folder / f"{fingerprint}.npy"


class Subject:
    """A model whose outputs are compared. It is loaded only if outputs are needed that are not recorded."""

    def __init__(self, plan: EvaluationPlan, load: Callable[[], Run], recorded: Path | None = None) -> None:
        """`load`: loads the model. `recorded`: the folder of its recorded outputs, if there are some."""
        self._plan, self._load, self._recorded = plan, load, recorded
        self._loaded: Run | None = None

    def first(self) -> Mapping[str, np.ndarray]:
        """Return the outputs of the plan's first call."""
        return load_outputs(self._recorded / FIRST) if self._recorded else self._run(self._plan.first)

    def outputs(self, arrays: Sample, fingerprints: Sequence[str]) -> list[Sample]:
        """Return the outputs of each sample of a call. The samples have these fingerprints."""
        files = [_file(self._recorded, each) for each in fingerprints] if self._recorded else []
        if files and all(file.exists() for file in files):
            return [load_outputs(file) for file in files]
        return split(self._run(arrays), len(fingerprints), self._plan.source)

    def _run(self, arrays: Sample) -> Mapping[str, np.ndarray]:
        self._loaded = self._loaded or self._load()
        return self._loaded(arrays)
