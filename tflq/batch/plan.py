"""The plan of a batch: the models that must be converted, and why. It compares contents, without TensorFlow."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tflq import cache
from tflq.batch import stamp
from tflq.batch.stamp import BuildInputs, FileFingerprint, Fingerprints, Stamp
from tflq.batch.zoo import Item
from tflq.recipe import Recipe


@dataclass(frozen=True)
class PlannedModel:
    """A model with a valid recipe. `why` says why it must be converted, and is empty if it is up to date."""

    name: str
    recipe: Recipe
    files: tuple[Path, ...]
    why: str
    build_inputs: BuildInputs


class Planner:
    """Compares the inputs and outputs of each model with its stamp. A file that several models share is read once."""

    def __init__(self) -> None:
        self.fingerprints = Fingerprints()

    def plan(self, items: Sequence[Item], force: bool = False) -> list[PlannedModel]:
        """Return a planned model for each item with a valid recipe, in the same order."""
        return [self._work(item, item.recipe, force) for item in items if isinstance(item.recipe, Recipe)]

    def _work(self, item: Item, recipe: Recipe, force: bool) -> PlannedModel:
        cache.clear_workspaces(recipe.output)
        before = stamp.read(recipe.output)
        if before:
            self.fingerprints.remember((*before.build_inputs.files, *before.outputs), recipe.output)
        now = stamp.build_inputs(recipe, self.fingerprints)
        outputs = self._outputs(recipe.output, before.outputs if before else ())
        why = "--force was given" if force else stamp.why(before, now, outputs)
        if before and not why:
            self._refresh(recipe.output, before, Stamp(now, outputs, before.retry_reason))
        return PlannedModel(item.name, recipe, item.files, why, now)

    def _outputs(self, output: Path, expected: Sequence[FileFingerprint]) -> tuple[FileFingerprint, ...]:
        return self.fingerprints.of_all((output / each.path for each in expected), output)

    def _refresh(self, output: Path, before: Stamp, now: Stamp) -> None:
        """Update the stamp if only times or inodes changed, so that the next run reads no contents."""
        if before != now:
            with contextlib.suppress(OSError):  # in a read-only folder, the contents are read each time
                stamp.write(output, now)

    def settle(self, planned_model: PlannedModel, output_names: Sequence[str], retry_reason: str) -> None:
        """Write the stamp of a finished model, with its build inputs from before the conversion."""
        output, build_inputs = planned_model.recipe.output, planned_model.build_inputs
        if build_inputs.unknown_reason:
            build_inputs = stamp.build_inputs(planned_model.recipe, self.fingerprints)
        outputs = self.fingerprints.of_all((output / name for name in output_names), output)
        stamp.write(output, Stamp(build_inputs, outputs, retry_reason))
