"""Which models of a batch must be made, and why; told by content, without TensorFlow."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tflq.batch import stamp
from tflq.batch.stamp import BuildInputs, FileFingerprint, Fingerprints, Stamp
from tflq.batch.zoo import Item
from tflq.recipe import Recipe


@dataclass(frozen=True)
class Work:
    """A model whose recipe is sound, and why it must be made: empty where its files are up to date."""

    name: str
    recipe: Recipe
    files: tuple[Path, ...]
    why: str
    build_inputs: BuildInputs


class Planner:
    """Compares what is there with what made it; a file that several models read is read once."""

    def __init__(self) -> None:
        self.fingerprints = Fingerprints()

    def plan(self, items: Sequence[Item], force: bool = False) -> list[Work]:
        """A work for each item whose recipe is sound, in their order."""
        return [self._work(item, item.recipe, force) for item in items if isinstance(item.recipe, Recipe)]

    def _work(self, item: Item, recipe: Recipe, force: bool) -> Work:
        before = stamp.read(recipe.output)
        if before:
            self.fingerprints.trust((*before.build_inputs.files, *before.outputs), recipe.output)
        now = stamp.build_inputs(recipe, self.fingerprints)
        outputs = self._outputs(recipe.output, before.outputs if before else ())
        why = "asked for with --force" if force else stamp.why(before, now, outputs)
        if before and not why:
            self._refresh(recipe.output, before, Stamp(now, outputs, before.again))
        return Work(item.name, recipe, item.files, why, now)

    def _outputs(self, output: Path, wanted: Sequence[FileFingerprint]) -> tuple[FileFingerprint, ...]:
        return self.fingerprints.of_all((output / one.path for one in wanted), output)

    def _refresh(self, output: Path, before: Stamp, now: Stamp) -> None:
        """Keep what the file system says now, where only that changed, so that the next run reads nothing."""
        if before != now:
            with contextlib.suppress(OSError):  # of a folder that may not be written, all is read each time
                stamp.write(output, now)

    def settle(self, work: Work, made: Sequence[str], again: str) -> None:
        """Stamp the output folder of a work that is done, with the ingredients as they were before it began."""
        output, build_inputs = work.recipe.output, work.build_inputs
        if build_inputs.unknown_reason:
            build_inputs = stamp.build_inputs(work.recipe, self.fingerprints)
        outputs = self.fingerprints.of_all((output / name for name in made), output)
        stamp.write(output, Stamp(build_inputs, outputs, again))
