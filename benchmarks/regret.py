"""The regret of the default: how much nearer the best of all combinations of corrections is, on unseen samples.

Each combination is a variant whose corrections are all set in the recipe, so that tflq decides nothing. The best is the
one with the highest mean over the parts of the rows, which nobody can know before.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from benchmarks import fidelity
from benchmarks.conversions import MODES, Part
from benchmarks.rivals import STOCK

OURS = "tflq"
RANGES: tuple[Any, ...] = ("minmax", "mse", {"percentile": 99.99}, {"percentile": 99.999})
HEADROOM_OF_INT16 = 2
"""The factor that tflq uses by default."""
LEAST_DB, MOST_DB = -20.0, 120.0
"""An SQNR beyond counts as this one, so that an output that is equal or broken does not decide alone."""
CORRECTIONS = ("bias_correction", "rounding", "equalization")
Decibels = Mapping[tuple[str, str], float]
"""The SQNR by quantizer and mode: the mean of the outputs, in dB."""


@dataclass(frozen=True)
class Combination:
    """A mode, how its ranges are chosen, and its corrections."""

    mode: str
    ranges: str
    """`minmax`, `mse`, or a percentile."""
    corrections: tuple[str, ...]
    headroom: float | str

    @property
    def variant(self) -> dict[str, Any]:
        """The entry of a recipe with these ranges."""
        switches = {key: "on" if key in self.corrections else "off" for key in CORRECTIONS}
        return {"mode": self.mode, "name": self.name, "headroom": self.headroom, **switches}

    @property
    def name(self) -> str:
        """Different for all combinations with the same ranges."""
        return "-".join([self.mode, *self.corrections, str(self.headroom)])

    @property
    def in_words(self) -> str:
        widened = [f"headroom {self.headroom}"] if self.headroom != 1 else []
        return " + ".join([f"{self.ranges} ranges", *(key.replace("_", " ") for key in self.corrections), *widened])


@dataclass(frozen=True)
class Regret:
    """The SQNR of one model in one mode on unseen samples, in dB: the mean of outputs and parts."""

    model: str
    mode: str
    stock: float
    kept: float
    best: float
    combination: str
    """The best one, in words."""

    @property
    def regret(self) -> float:
        return self.best - self.kept

    @property
    def gain(self) -> float:
        return self.kept - self.stock


def combinations() -> Iterator[Combination]:
    """Yield all of int8, and those of int16x8 with minmax ranges and without equalization."""
    headrooms: tuple[float | str, ...] = (1, "expected")
    for ranges, headroom, are_on in product(RANGES, headrooms, product((False, True), repeat=3)):
        yield Combination("int8", _in_words(ranges), _chosen(are_on), headroom)
    for are_on in product((False, True), (False, True), (False,)):
        yield Combination("int16x8", "minmax", _chosen(are_on), HEADROOM_OF_INT16)


def _chosen(are_on: Sequence[bool]) -> tuple[str, ...]:
    return tuple(key for key, is_on in zip(CORRECTIONS, are_on, strict=True) if is_on)


def _in_words(ranges: Any) -> str:
    return ranges if isinstance(ranges, str) else f"percentile {ranges['percentile']}"


def mean_sqnr_db(outputs: Sequence[float]) -> float:
    return statistics.fmean(min(max(one, LEAST_DB), MOST_DB) for one in outputs)


def of_model(parts: Sequence[Part], default: Sequence[Decibels]) -> list[Regret]:
    """Return the regret in each mode that tflq and the stock converter have a file for; `default` is of each part."""
    modes = [mode for mode in MODES if all((OURS, mode) in part for part in default)]
    tried = [_tried(part, modes) for part in parts]
    every = [one for one in tried[0] if all(one in others for others in tried)]
    found = []
    for mode in modes:
        means = {one: statistics.fmean(part[one] for part in tried) for one in every if one.mode == mode}
        if means:
            best = max(means, key=lambda one: means[one])
            stock, kept = (statistics.fmean(part[maker, mode] for part in default) for maker in (STOCK, OURS))
            found.append(Regret(parts[0].model.stem, mode, stock, kept, means[best], best.in_words))
    return found


def _tried(part: Part, modes: Sequence[str]) -> dict[Combination, float]:
    """Return the mean SQNR of each combination in these modes; what cannot be made or run is missing."""
    found: dict[Combination, float] = {}
    for ranges in RANGES:
        here = [one for one in combinations() if one.ranges == _in_words(ranges) and one.mode in modes]
        if not here:
            continue
        part.say(f"{len(here)} combinations with {_in_words(ranges)} ranges")
        name = _in_words(ranges).replace(" ", "-")
        made = part.convert(name, [one.variant for one in here], ranges)
        files = {one: made[one.name] for one in here if one.name in made}
        measured = fidelity.measure(list(files.values()), part.float32, part.measures)
        for one, outputs in zip(files, measured, strict=True):
            if isinstance(outputs, tuple):
                found[one] = mean_sqnr_db([output.sqnr_db for output in outputs])
            else:
                part.say(f"{one.in_words} cannot run: {outputs}")
    return found


def table(regrets: Sequence[Regret]) -> list[str]:
    """Return a Markdown table, and a summary for each mode."""
    lines = [
        f"| model, mode | {STOCK} | {OURS} | gain | best in hindsight | regret | the best |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in regrets:
        figures = (
            f"{one.stock:.1f} dB | {one.kept:.1f} dB | {one.gain:+.1f} dB | {one.best:.1f} dB | {one.regret:+.1f} dB"
        )
        lines.append(f"| {one.model}, {one.mode} | {figures} | {one.combination} |")
    return [*lines, "", *(line for mode in MODES for line in _summary(mode, regrets))]


def _summary(mode: str, regrets: Sequence[Regret]) -> Iterator[str]:
    here = [one for one in regrets if one.mode == mode]
    if here:
        gains, lost = [one.gain for one in here], [one.regret for one in here]
        yield (
            f"{mode}, regret: {statistics.median(lost):+.2f} dB in the median of {len(here)} models,"
            f" {max(lost):+.2f} dB at most; the gain over the stock converter is {statistics.median(gains):+.1f} dB in"
            f" the median, {min(gains):+.1f} dB at least."
        )
