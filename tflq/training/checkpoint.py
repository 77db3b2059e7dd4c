"""Training as it stood after its last whole epoch, so that an interrupted run goes on."""

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
    """The folder of that key; those of other keys are of no more use, and are removed."""
    folder = checkpoints / key[:16]
    if checkpoints.is_dir():
        for other in checkpoints.iterdir():
            if other != folder:
                shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Checkpoint:
    """The epochs of one technique, and the variables after the last of them and after the best."""

    folder: Path

    def epochs(self) -> list[Epoch]:
        """What has been done, if anything has."""
        state = self.folder / STATE
        return [Epoch(**epoch) for epoch in json.loads(state.read_text())] if state.exists() else []

    def save(self, epochs: Sequence[Epoch], best: int, variables: Sequence[Any]) -> None:
        """Keep the variables as they are after the last epoch; all others but those of the best are removed."""
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
        """Set the variables to what they were after that epoch."""
        with np.load(self._file(number)) as arrays:
            for place, variable in enumerate(variables):
                variable.assign(arrays[f"arr_{place}"])

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.npz"
