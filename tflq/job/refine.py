"""What each variant is quantized from: the float32 file as it is, or changed so that less is lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflq import calibrate, refine
from tflq.calibrate import Chosen, Gathered, Samples
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
class Stock:
    """All that may be quantized."""

    files: Mapping[bool, tuple[Path, Chosen]]
    """The float32 file and its ranges, as it is, and where that is asked for equalized."""
    corrected: Mapping[Look, Mapping[Corrections, Corrected]]

    def candidate(self, asked: Asked, rung: Rung) -> Candidate:
        original, chosen = self.files[rung.equalization]
        corrected = self._corrected(asked, rung)
        ranges = refine.widened(chosen.by_bits[asked.bits], asked.headroom)
        return Candidate(corrected.path if corrected else original, original, ranges)

    def refinement(self, asked: Asked, rung: Rung, attempts: Sequence[Attempt], held: int) -> Refinement:
        corrected = self._corrected(asked, rung)
        return Refinement(rung, tuple(attempts), held, asked.headroom, corrected.corrections if corrected else ())

    def _corrected(self, asked: Asked, rung: Rung) -> Corrected | None:
        return self.corrected.get((rung.equalization, asked.grid), {}).get(rung.corrections)


@dataclass(frozen=True)
class Refiner:
    float32: Path
    gathered: Gathered
    chosen: Chosen
    """The ranges of the float32 file as it is."""
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
        fitted = fitted[:: -(-len(fitted) // FIT)]
        try:
            stock = self._stock(wanted, fitted)
        except TflqError as error:
            return {asked: self._as_it_is(asked, str(error)) or error for asked in wanted}
        return self._judged(wanted, stock, held)

    def _stock(self, wanted: Iterable[Asked], fitted: Sequence[int]) -> Stock:
        rungs = [(asked, rung) for asked in wanted for rung in asked.rungs]
        files = {False: (self.float32, self.chosen)}
        if any(rung.equalization for _, rung in rungs):
            files[True] = self._equalized(fitted)
        ways: dict[Look, dict[Corrections, Path]] = {}
        for asked, rung in rungs:
            if rung.corrections != Corrections():
                look = ways.setdefault((rung.equalization, asked.grid), {})
                look.setdefault(rung.corrections, self._new())
        tasks = [
            self._correcting(files[is_equalized][0], (self.gathered.samples, fitted), grid, targets)
            for (is_equalized, grid), targets in ways.items()
        ]
        return Stock(files, dict(zip(ways, self._all(tasks), strict=True)))

    def _correcting(
        self, model: Path, data: tuple[Samples, Sequence[int]], grid: Grid, targets: Mapping[Corrections, Path]
    ) -> Task[dict[Corrections, Corrected]]:
        stage = f"fit the layers of {'the equalized' if model != self.float32 else 'the float32'} file{grid.in_words}"
        return Task(stage, refine.correct, (model, data, grid, targets), ConversionError)

    def _equalized(self, fitted: Sequence[int]) -> tuple[Path, Chosen]:
        arguments = (self.float32, (self.gathered.samples, fitted), self._new())
        made = self._all([Task("equalize the channels", refine.equalize, arguments, ConversionError)])[0]
        calibrated = self.calibrator.find(made.path, self.gathered)
        asked = (calibrated, self.gathered, self.calibrator.calibration.ranges, sorted(self.chosen.by_bits))
        return made.path, self._all([Task("choose its ranges", calibrate.choose, asked, ConversionError)])[0]

    def _judged(
        self, wanted: Mapping[Asked, Mode], stock: Stock, held: Sequence[int]
    ) -> dict[Asked, Refined | TflqError]:
        """What comes nearest on the samples held back, where there is anything to decide."""
        tries = [(asked, rung) for asked in wanted if len(asked.rungs) > 1 and held for rung in asked.rungs]
        tasks = [
            self._comparing(f"{wanted[asked].name}, {rung.in_words}", stock.candidate(asked, rung), wanted[asked], held)
            for asked, rung in tries
        ]
        outcomes = self.calibrator.workers.run_all(tasks, self.calibrator.jobs)
        found: dict[Asked, list[Attempt | TflqError]] = {asked: [] for asked in wanted}
        for (asked, rung), outcome in zip(tries, outcomes, strict=True):
            found[asked].append(outcome.error if isinstance(outcome, Failed) else Attempt(rung, outcome.value))
        return {asked: self._best(asked, stock, some, len(held)) for asked, some in found.items()}

    def _best(self, asked: Asked, stock: Stock, found: Sequence[Attempt | TflqError], held: int) -> Refined | TflqError:
        first = asked.rungs[0]
        if not found:
            return Refined(stock.candidate(asked, first), stock.refinement(asked, first, (), 0))
        if isinstance(found[0], TflqError):
            return self._as_it_is(asked, str(found[0])) or found[0]
        attempts = [one for one in found if isinstance(one, Attempt)]
        kept = refine.best(attempts).rung
        return Refined(stock.candidate(asked, kept), stock.refinement(asked, kept, attempts, held))

    def _comparing(self, what: str, candidate: Candidate, variant: Mode, held: Sequence[int]) -> Task[dict[str, float]]:
        data = (self.gathered.samples, held, self._new())
        return Task(f"try {what}", refine.nearness, (candidate, variant, self.float32, data), ConversionError)

    def _as_it_is(self, asked: Asked, fault: str) -> Refined | None:
        """The float32 file without any change, and why; None where the recipe wants one whatever comes."""
        if asked.rungs[0] != Rung():
            return None
        candidate = Candidate(self.float32, self.float32, self.chosen.by_bits[asked.bits])
        return Refined(candidate, Refinement(Rung(), (), 0, 1.0, (), fault))

    def _all(self, tasks: Sequence[Task[Any]]) -> list[Any]:
        return [outcome.get() for outcome in self.calibrator.workers.run_all(tasks, self.calibrator.jobs)]

    def _key(self, asked: Asked) -> tuple[Path, Gathered, Asked]:
        return self.float32, self.gathered, asked

    def _new(self) -> Path:
        """A path that nothing has yet."""
        self.calibrator.folder.mkdir(parents=True, exist_ok=True)
        return self.calibrator.folder / uuid.uuid4().hex
