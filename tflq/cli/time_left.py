"""The time that a run still takes, estimated from the last run of the same recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tflq.recipe import Recipe


@dataclass(frozen=True)
class EarlierRun:
    """The seconds of a run and of each of its stages, in the order in which they ended."""

    seconds: float
    stages: Mapping[str, float]

    def seconds_after(self, ended: set[str], running: Mapping[str, float]) -> float | None:
        """Return the seconds after the stages that have ended; None if none of them is known.

        `running` has the seconds that each running stage has taken. Stages before the last known one that has ended
        or begun are skipped in this run, for example because their results are in the cache.
        """
        order = list(self.stages)
        if not ended & self.stages.keys() or not sum(self.stages.values()):
            return None
        known = [order.index(stage) for stage in (*ended, *running) if stage in self.stages]
        later = set(order[max(known) + 1 :]) - ended - set(running)
        left = sum(self.stages[stage] for stage in later)
        left += sum(max(0.0, self.stages[stage] - spent) for stage, spent in running.items() if stage in self.stages)
        return left * self.seconds / sum(self.stages.values())  # stages run side by side


def earlier_run(recipe: Recipe) -> EarlierRun | None:
    """Return the run that the report in the output folder is of; None if there is none, or its recipe was another."""
    from tflq.recipe import dump

    try:
        report = json.loads((recipe.output / "report.json").read_text(encoding="utf-8"))
        if report["recipe_sha256"] != hashlib.sha256(dump(recipe, recipe.output).encode()).hexdigest():
            return None
        return EarlierRun(report["seconds"], {stage["name"]: stage["seconds"] for stage in report["stages"]})
    except (OSError, ValueError, KeyError, TypeError):
        return None
