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
FAR_DB, SURE = 2.0, 3.0
"""How much nearer less of it has to come than all of it, in dB; or in standard errors, and by LARGEST_LOSS_DB then."""
FEWEST = 8
"""Calls that tell a standard error well enough for that."""
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

    def without_each(self) -> np.ndarray:
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

    def gains_db(self, other: Attempt) -> tuple[np.ndarray, np.ndarray]:
        """By how many dB each output is nearer here than there, and the standard error of that, in dB, [outputs]."""
        gains = [self.outputs[name].sqnr_db - other.outputs[name].sqnr_db for name in sorted(self.outputs)]
        return np.array(gains), _standard_error(self._gains_without_each(other))

    def gain_db(self, other: Attempt) -> tuple[float, float]:
        """The same of the mean over all outputs."""
        return self.mean - other.mean, float(_standard_error(self._gains_without_each(other).mean(1)))

    def beats(self, other: Attempt) -> bool:
        """Whether it is nearer over all outputs, and no output is farther by more than chance."""
        gains, errors = self.gains_db(other)
        pays = np.any(-gains > np.maximum(LARGEST_LOSS_DB, CERTAIN * errors))
        return self.mean >= other.mean + LEAST_GAIN_DB and not pays

    def is_nearer_by_far(self, other: Attempt) -> bool:
        """Whether it is nearer by so much that more calls would show the same."""
        gain, error = self.gain_db(other)
        is_certain = self._calls >= FEWEST and gain >= max(LARGEST_LOSS_DB, SURE * error)
        return gain >= FAR_DB or is_certain

    @property
    def _calls(self) -> int:
        return len(next(iter(self.outputs.values())).signal)

    def _gains_without_each(self, other: Attempt) -> np.ndarray:
        """With each call left out in turn, in dB, [calls, outputs]."""
        names = sorted(self.outputs)
        gains = [self.outputs[name].without_each() - other.outputs[name].without_each() for name in names]
        return np.stack(gains, axis=1)


def best(attempts: Sequence[Attempt]) -> Attempt:
    """The first, unless others beat it: the last then, which does most, or the nearest where it is nearer by far.

    Small differences are chance where calls are few, and what helps most models is the better guess.
    """
    first, *others = attempts
    winners = [one for one in others if one.beats(first)]
    nearest = max(winners, key=lambda one: one.mean, default=first)
    most = attempts[-1]
    return most if most in winners and not nearest.is_nearer_by_far(most) else nearest


def _standard_error(without_each: np.ndarray) -> np.ndarray:
    """The jackknife's, from what was found without each call in turn, [calls, ...] (Efron and Stein 1981).

    One call may make most of the noise, and then the linear form of the ratio is too sure.
    """
    calls = len(without_each)
    spread: np.ndarray = np.square(without_each - without_each.mean(0)).sum(0) * (calls - 1) / calls
    error: np.ndarray = np.sqrt(spread)
    return error


def _decibels(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """10·log10(signal / noise), within ±PERFECT_DB."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(noise > 0, 10 * np.log10(signal / noise), PERFECT_DB)
    clipped: np.ndarray = np.clip(np.nan_to_num(found, nan=-PERFECT_DB), -PERFECT_DB, PERFECT_DB)
    return clipped
