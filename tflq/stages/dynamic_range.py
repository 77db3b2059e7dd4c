"""Files of mode dynamic, which no ranges are needed for, corrected by calibration samples where there are any."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tflq import refine
from tflq.calibrate import Gathered
from tflq.errors import ConversionError, TflqError
from tflq.refine import Refinement, Rung
from tflq.stages.recipe_cache import RecipeCache
from tflq.stages.refine import FIT
from tflq.stages.state import Begun
from tflq.stages.variant_build import Draft
from tflq.worker import Failed, Task, Workers


def reads_samples(draft: Draft) -> bool:
    """Whether its file is made without samples, and may be corrected by them."""
    variant = draft.variant
    return variant is not None and variant.reads_samples and not variant.needs_ranges


@dataclass(frozen=True)
class Hybrids:
    folder: Path
    workers: Workers
    jobs: int
    recipe_cache: RecipeCache

    def is_kept(self, draft: Draft, float32: Path, gathered: Gathered) -> bool:
        """Whether no samples are needed for the draft's file, or what they make of it was kept."""
        return not reads_samples(draft) or self._found(draft, float32, gathered) is not None

    def corrected(self, begun: Begun) -> tuple[Draft, ...]:
        """All drafts, the files of those that ask for it corrected in place; as they are where there are no samples.

        What cannot be tried is an error of a draft that demands it, and is told of any other.
        """
        gathered = begun.gathered
        asking = [draft for draft in begun.drafts if reads_samples(draft) and draft.path]
        if gathered is None:
            return begun.drafts
        if isinstance(gathered, TflqError):
            new = {draft.name: _unchanged(draft, gathered) for draft in asking}
        else:
            new = self._corrected(asking, begun.float32.path, gathered)
        return tuple(new.get(draft.name, draft) for draft in begun.drafts)

    def _corrected(self, drafts: Sequence[Draft], float32: Path, gathered: Gathered) -> dict[str, Draft]:
        done: dict[str, Draft] = {}
        for draft in drafts:
            if draft.path and (found := self._found(draft, float32, gathered)):
                found[0].replace(draft.path)
                done[draft.name] = replace(draft, refinement=found[1])
        rest = [draft for draft in drafts if draft.name not in done]
        outcomes = self.workers.run_all([_correcting(draft, float32, gathered) for draft in rest], self.jobs)
        for draft, outcome in zip(rest, outcomes, strict=True):
            after = replace(draft, seconds=draft.seconds + outcome.seconds)
            if isinstance(outcome, Failed):
                done[draft.name] = _unchanged(after, outcome.error)
            elif draft.path and draft.variant:
                done[draft.name] = replace(after, refinement=outcome.value)
                key = float32, gathered, draft.variant
                self.recipe_cache.save_corrected((draft.path, outcome.value), key, self._new())
        return done

    def _found(self, draft: Draft, float32: Path, gathered: Gathered) -> tuple[Path, Refinement] | None:
        assert draft.variant is not None
        return self.recipe_cache.load_corrected((float32, gathered, draft.variant), self._new())

    def _new(self) -> Path:
        return self.folder / uuid.uuid4().hex


def _correcting(draft: Draft, float32: Path, gathered: Gathered) -> Task[Refinement]:
    fitted, held = refine.held_back(gathered.samples.number_of_calls)
    data = gathered.samples, fitted[:: -(-len(fitted) // FIT)], held
    arguments = (float32, draft.path, data, _demands(draft))
    return Task(f"correct the biases of {draft.name}", refine.correct_biases, arguments, ConversionError)


def _demands(draft: Draft) -> bool:
    return draft.variant is not None and draft.variant.bias_correction == "on"


def _unchanged(draft: Draft, error: TflqError) -> Draft:
    if _demands(draft):
        return replace(draft, error=error, path=None)
    return replace(draft, refinement=Refinement(Rung(), (), 0, (), str(error)))
