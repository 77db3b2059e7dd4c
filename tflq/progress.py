"""The progress of a run for those who watch it: its steps, and the figures of its variants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tflq.recipe import Recipe
from tflq.report.variant_line import in_one_line
from tflq.stages import VariantBuild


class Step(Enum):
    """The steps of a run, in their order, with the words for the user."""

    READING = "reading"
    CALIBRATING = "calibrating"
    CONVERTING = "converting"
    TRAINING = "training"
    CHECKING = "checking"
    MEASURING = "measuring"
    TIMING = "timing"


@dataclass(frozen=True)
class RunStep:
    """The run has reached a step. `position` counts from 1 to `total`."""

    name: str
    position: int
    total: int


@dataclass(frozen=True)
class VariantProgress:
    """The present figures of a variant, in one line. It is final unless the gates fail or the file cannot be timed."""

    variant: str
    text: str
    is_final: bool


Watcher = Callable[[RunStep | VariantProgress], None]
"""The function that is called when a step begins, and when a variant is converted or measured."""


def steps(recipe: Recipe, file: Path | None) -> Iterator[Step]:
    """Yield the steps that this run has."""
    yield Step.READING
    if file is None:
        yield from [Step.CALIBRATING] if recipe.calibration else []
        yield Step.CONVERTING
        yield from [Step.TRAINING] if recipe.techniques else []
    yield from (Step.CHECKING, Step.MEASURING)
    yield from [Step.TIMING] if recipe.latency != "off" else []


@dataclass(frozen=True)
class RunProgress:
    """Passes the step that begins, and the present figures of the variants, to the watcher of a run."""

    recipe: Recipe
    watch: Watcher | None
    """None if nobody watches."""
    steps: tuple[Step, ...]
    """The steps of this run, in their order."""

    def begin(self, step: Step) -> None:
        """Tell that the step begins, if this run has it."""
        if self.watch and step in self.steps:
            self.watch(RunStep(step.value, self.steps.index(step) + 1, len(self.steps)))

    def tell(self, builds: Sequence[VariantBuild], is_final: bool = False) -> None:
        """Tell the present figures of each variant. An error is always final."""
        if self.watch is None:
            return
        for build in builds:
            text = in_one_line(build, self.recipe.measured_on.scoring)
            self.watch(VariantProgress(build.name, text, is_final or build.error is not None))
