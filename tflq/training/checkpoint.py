"""Checkpoints after each epoch, from which an interrupted training goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tflq import cache
from tflq.training.outcome import Epoch

STATE = "state.json"


def folder_for(checkpoints: Path, key: str) -> Path:
    """Create and return the folder of the key. Folders of other keys are obsolete and are removed."""
    folder = checkpoints / key[:16]
    if checkpoints.is_dir():
        for other in checkpoints.iterdir():
            if other != folder:
                shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Checkpoint:
    """The epochs of one technique, and the variables after its last and after its best epoch."""

    folder: Path

    def epochs(self) -> list[Epoch]:
        """Return the epochs that are complete."""
        state = self.folder / STATE
        return [Epoch(**epoch) for epoch in json.loads(state.read_text())] if state.exists() else []

    def save(self, epochs: Sequence[Epoch], best: int, variables: Sequence[Any]) -> None:
        """Save the variables after the last epoch. Remove all others except those of the best epoch.

        `best` is the number of the best epoch, from 1. `variables` are Keras variables, always in the same order.
        """
        self.folder.mkdir(exist_ok=True)
        number = len(epochs)
        temporary = self.folder / "next.npz"
        np.savez(temporary, *[variable.numpy() for variable in variables])
        temporary.replace(self._file(number))
        cache.write(self.folder / STATE, json.dumps([asdict(epoch) for epoch in epochs]))
        for file in self.folder.glob("*.npz"):
            if file not in (self._file(number), self._file(best)):
                file.unlink()

    def restore(self, number: int, variables: Sequence[Any]) -> None:
        """Set the variables to their values after epoch `number`, from 1."""
        with np.load(self._file(number)) as arrays:
            for place, variable in enumerate(variables):
                variable.assign(arrays[f"arr_{place}"])

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.npz"
