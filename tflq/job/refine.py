"""What each variant is quantized from: the float32 file as it is, or changed so that less is lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflq import calibrate, refine
from tflq.calibrate import Calibrated, Chosen, Gathered, Range, Samples
from tflq.errors import ConversionError, TflqError
from tflq.job.ranges import Calibrator
from tflq.job.shelf import Shelf
from tflq.modes import Mode
from tflq.refine import Asked, Attempt, Candidate, Corrected, Corrections, Grid, Refined, Refinement, Rung
from tflq.worker import Failed, Task

FIT = 64
"""Calls that layers are fitted to, at most; more change little."""
Look = tuple[bool, Grid]
"""Whether at the layers of the equalized file, and the scales that weights will have."""


@dataclass(frozen=True)
class Ranged:
    """A float32 file with what its activations are."""

    calibrated: Calibrated
    chosen: Chosen
    """The ranges by the recipe's method."""

    def ranges(self, asked: Asked, rung: Rung, of: Sequence[int] | None = None) -> tuple[Range, ...]:
        """By the recipe's method of all calls, or the extremes of some."""
        found = self.chosen.by_bits[asked.bits] if of is None else self.calibrated.extremes(of, asked.bits)
        return refine.widened(found, rung.headroom)


@dataclass(frozen=True)
class Stock:
    """All that may be quantized."""

    bases: Mapping[bool, Ranged]
    """The float32 file as it is, and where that is asked for equalized."""
    corrected: Mapping[Look, Mapping[Corrections, Corrected]]

    def candidate(self, asked: Asked, rung: Rung, of: Sequence[int] | None = None) -> Candidate:
        base, corrected = self.bases[rung.equalization], self.corrected_for(asked, rung)
        original = base.calibrated.model
        return Candidate(corrected.path if corrected else original, original, base.ranges(asked, rung, of))

    def corrected_for(self, asked: Asked, rung: Rung) -> Corrected | None:
        return self.corrected.get((rung.equalization, asked.grid), {}).get(rung.corrections)


@dataclass(frozen=True)
class Refiner:
    base: Ranged
    gathered: Gathered
    calibrator: Calibrator
    shelf: Shelf

    def find(self, variants: Iterable[Mode]) -> dict[Asked, Refined | TflqError]:
        """For all that variants ask for, where they ask for anything, what they are quantized from."""
        wanted = {asked: variant for variant in variants if not (asked := Asked.by(variant)).is_plain}
        kept = {asked: found for asked in wanted if (found := self.shelf.refined(self._key(asked), self._new()))}
        made = self._made({asked: variant for asked, variant in wanted.items() if asked not in kept})
        for asked, refined in made.items():
            if isinstance(refined, Refined):
                self.shelf.keep_refined(refined, self._key(asked), self._new())
        return {**kept, **made}

    def _made(self, wanted: Mapping[Asked, Mode]) -> dict[Asked, Refined | TflqError]:
        if not wanted:
            return {}
        fitted, held = refine.held_back(self.gathered.samples.number_of_calls)
        try:
            stock = self._stock(wanted, fitted[:: -(-len(fitted) // FIT)])
        except TflqError as error:
            return {asked: self._as_it_is(asked, str(error)) or error for asked in wanted}
        judged = self._judged(wanted, stock, (fitted, held)) if held else dict.fromkeys(wanted, ())
        return {asked: self._best(asked, stock, found, len(held)) for asked, found in judged.items()}

    def _stock(self, wanted: Iterable[Asked], fitted: Sequence[int]) -> Stock:
        rungs = [(asked, rung) for asked in wanted for rung in asked.rungs]
        bases = {False: self.base}
        if any(rung.equalization for _, rung in rungs):
            bases[True] = self._equalized(fitted)
        ways: dict[Look, dict[Corrections, Path]] = {}
        for asked, rung in rungs:
            if rung.corrections != Corrections():
                look = ways.setdefault((rung.equalization, asked.grid), {})
                look.setdefault(rung.corrections, self._new())
        tasks = [
            self._correcting(bases[is_equalized].calibrated.model, (self.gathered.samples, fitted), grid, targets)
            for (is_equalized, grid), targets in ways.items()
        ]
        return Stock(bases, dict(zip(ways, self._all(tasks), strict=True)))

    def _correcting(
        self, model: Path, data: tuple[Samples, Sequence[int]], grid: Grid, targets: Mapping[Corrections, Path]
    ) -> Task[dict[Corrections, Corrected]]:
        stage = f"fit the layers of {'the equalized' if model != self._float32 else 'the float32'} file{grid.in_words}"
        return Task(stage, refine.correct, (model, data, grid, targets), ConversionError)

    def _equalized(self, fitted: Sequence[int]) -> Ranged:
        arguments = (self._float32, (self.gathered.samples, fitted), self._new())
        made = self._all([Task("equalize the channels", refine.equalize, arguments, ConversionError)])[0]
        calibrated = self.calibrator.find(made.path, self.gathered)
        asked = (calibrated, self.gathered, self.calibrator.calibration.ranges, sorted(self.base.chosen.by_bits))
        return Ranged(calibrated, self._all([Task("choose its ranges", calibrate.choose, asked, ConversionError)])[0])

    def _judged(
        self, wanted: Mapping[Asked, Mode], stock: Stock, calls: tuple[Sequence[int], Sequence[int]]
    ) -> dict[Asked, Sequence[Attempt | TflqError]]:
        """How near to the float model each thing comes that may be done, on calls that had no part in it.

        Where one was found to help, it is tried with more headroom, for which ranges must not be of those calls.
        """
        open_ = {asked: asked.rungs for asked in wanted if len(asked.rungs) > 1 or asked.wider(asked.rungs[0])}
        found: dict[Asked, list[Attempt | TflqError]] = {asked: [] for asked in wanted}
        self._try(open_, (wanted, stock, calls), found)
        if self._has_extremes:
            wider = {asked: asked.wider(best.rung) for asked in open_ if (best := _best_of(found[asked]))}
            self._try(wider, (wanted, stock, calls), found)
        return {asked: tuple(some) for asked, some in found.items()}

    def _try(
        self,
        rungs: Mapping[Asked, Sequence[Rung]],
        among: tuple[Mapping[Asked, Mode], Stock, tuple[Sequence[int], Sequence[int]]],
        found: Mapping[Asked, list[Attempt | TflqError]],
    ) -> None:
        wanted, stock, (fitted, held) = among
        tries = [(asked, rung) for asked, some in rungs.items() for rung in some]
        seen = fitted if self._has_extremes else None
        tasks = [
            self._comparing(
                f"{wanted[asked].name}, {rung.in_words}", stock.candidate(asked, rung, seen), wanted[asked], held
            )
            for asked, rung in tries
        ]
        outcomes = self.calibrator.workers.run_all(tasks, self.calibrator.jobs)
        for (asked, rung), outcome in zip(tries, outcomes, strict=True):
            found[asked].append(outcome.error if isinstance(outcome, Failed) else Attempt(rung, outcome.value))

    @property
    def _has_extremes(self) -> bool:
        """Whether ranges of a part of the calls can be had, as they are of all."""
        return self.calibrator.calibration.ranges == "minmax"

    def _best(self, asked: Asked, stock: Stock, found: Sequence[Attempt | TflqError], held: int) -> Refined | TflqError:
        if found and isinstance(found[0], TflqError):
            return self._as_it_is(asked, str(found[0])) or found[0]
        best = _best_of(found)
        rung = best.rung if best else asked.rungs[0]
        corrected = stock.corrected_for(asked, rung)
        attempts = tuple(one for one in found if isinstance(one, Attempt))
        refinement = Refinement(rung, attempts, held if attempts else 0, corrected.corrections if corrected else ())
        return Refined(stock.candidate(asked, rung), refinement)

    def _comparing(self, what: str, candidate: Candidate, variant: Mode, held: Sequence[int]) -> Task[dict[str, float]]:
        data = (self.gathered.samples, held, self._new())
        return Task(f"compare {what}", refine.nearness, (candidate, variant, self._float32, data), ConversionError)

    def _as_it_is(self, asked: Asked, fault: str) -> Refined | None:
        """The float32 file without any change, and why; None where the recipe wants one whatever comes."""
        if asked.rungs[0] != Rung():
            return None
        candidate = Candidate(self._float32, self._float32, self.base.chosen.by_bits[asked.bits])
        return Refined(candidate, Refinement(Rung(), (), 0, (), fault))

    def _all(self, tasks: Sequence[Task[Any]]) -> list[Any]:
        return [outcome.get() for outcome in self.calibrator.workers.run_all(tasks, self.calibrator.jobs)]

    @property
    def _float32(self) -> Path:
        return self.base.calibrated.model

    def _key(self, asked: Asked) -> tuple[Path, Gathered, Asked]:
        return self._float32, self.gathered, asked

    def _new(self) -> Path:
        """A path that nothing has yet."""
        self.calibrator.folder.mkdir(parents=True, exist_ok=True)
        return self.calibrator.folder / uuid.uuid4().hex


def _best_of(found: Sequence[Attempt | TflqError]) -> Attempt | None:
    attempts = [one for one in found if isinstance(one, Attempt)]
    return refine.best(attempts) if attempts and found[0] is attempts[0] else None
