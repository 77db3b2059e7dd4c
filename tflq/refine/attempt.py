"""What was tried, and whether calls that had no part in it show that it is nearer to the float model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflq.refine.asked import Rung

LEAST_GAIN_DB, LARGEST_LOSS_DB = 0.1, 0.5
"""What has to be won over all outputs, and may be lost at one."""
CERTAIN = 2.0
"""Standard errors; a loss that is smaller may be chance."""
FAR_DB = 2.0
"""How much nearer less of it has to come than all of it."""
PERFECT_DB = 120.0
"""Float rounding is near it; what is beyond counts as that."""
_LARGEST = 1e300
"""In place of what is not finite, which JSON cannot hold."""


@dataclass(frozen=True)
class Energies:
    """Of one output, on each call: the sum of squares of the float model's values, and of the errors."""

    signal: tuple[float, ...]
    noise: tuple[float, ...]

    @staticmethod
    def of(rows: np.ndarray) -> Energies:
        """From rows of `metrics.errors`, [calls, 6]."""
        signal, noise = np.nan_to_num(rows[:, :2], nan=_LARGEST, posinf=_LARGEST).T.tolist()
        return Energies(tuple(signal), tuple(noise))

    @property
    def sqnr_db(self) -> float:
        return float(_decibels(np.sum(self.signal), np.sum(self.noise)))

    def loss_db(self, to: Energies) -> tuple[float, float]:
        """By how many dB the SQNR is lower there, and the standard error of that, in dB.

        That is the jackknife's, over calls (Efron and Stein 1981): one call may make most of the noise,
        and then the linear form of the ratio is too sure.
        """
        calls = len(self.signal)
        without = self._without_each() - to._without_each()
        spread = np.square(without - without.mean()).sum() * (calls - 1) / calls
        return self.sqnr_db - to.sqnr_db, float(np.sqrt(spread))

    def _without_each(self) -> np.ndarray:
        """The SQNR in dB with each call left out in turn, [calls]."""
        signal, noise = np.asarray(self.signal), np.asarray(self.noise)
        return _decibels(signal.sum() - signal, noise.sum() - noise)


@dataclass(frozen=True)
class Attempt:
    """One thing that was tried, and how near each output came."""

    rung: Rung
    outputs: Mapping[str, Energies]

    @property
    def sqnr_db(self) -> dict[str, float]:
        return {name: output.sqnr_db for name, output in self.outputs.items()}

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.sqnr_db.values())))

    def beats(self, other: Attempt) -> bool:
        """Whether it is nearer over all outputs, and no output is farther by more than chance."""
        losses = [output.loss_db(self.outputs[name]) for name, output in other.outputs.items()]
        pays = any(loss > max(LARGEST_LOSS_DB, CERTAIN * error) for loss, error in losses)
        return self.mean >= other.mean + LEAST_GAIN_DB and not pays


def best(attempts: Sequence[Attempt]) -> Attempt:
    """The first, unless others beat it: the last then, which does most, or the nearest where it is nearer by far.

    Small differences are chance where calls are few, and what helps most models is the better guess.
    """
    first, *others = attempts
    winners = [one for one in others if one.beats(first)]
    nearest = max(winners, key=lambda one: one.mean, default=first)
    most = attempts[-1]
    return most if most in winners and most.mean > nearest.mean - FAR_DB else nearest


def _decibels(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """10·log10(signal / noise), within ±PERFECT_DB."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(noise > 0, 10 * np.log10(signal / noise), PERFECT_DB)
    clipped: np.ndarray = np.clip(np.nan_to_num(found, nan=-PERFECT_DB), -PERFECT_DB, PERFECT_DB)
    return clipped
