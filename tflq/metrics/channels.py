"""Sums over samples for each channel of an output, the last axis. From them come the figures of the channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_CHANNELS = 4096
"""An output with more channels is taken as one channel, so that memory stays bounded."""
MAX_VALUES = 2**18
"""The number of values of one sample that are read, about. Of a larger output, evenly spaced positions are read."""
END_DISTANCE = 0.05
"""A value is saturated if it is at an end of its range, and the float value is this part of the range away from it."""


@dataclass(frozen=True)
class OutputRange:
    """The lowest and the highest value of a quantized output, and the distance of its values."""

    low: float
    high: float
    step: float


@dataclass(frozen=True)
class Extremes:
    """The lowest and the highest float value of each channel, and how many values are equal to each."""

    low: np.ndarray
    high: np.ndarray
    at_low: np.ndarray
    at_high: np.ndarray

    def joined(self, other: Extremes) -> Extremes:
        """Return the extremes of both sets of values."""
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        at_low = self.at_low * (self.low == low) + other.at_low * (other.low == low)
        at_high = self.at_high * (self.high == high) + other.at_high * (other.high == high)
        return Extremes(low, high, at_low, at_high)


@dataclass(frozen=True)
class ChannelSums:
    """The sums of one output over samples. Each array has one element for each channel.

    For float values f, values q of the file and a shift s that is fixed for the file: the sums of f − s, (f − s)² and
    (f − q)².
    """

    samples: int
    values: int
    """The number of values of each channel."""
    shift: np.ndarray
    first: np.ndarray
    second: np.ndarray
    noise: np.ndarray
    float_values: Extremes
    lowest: np.ndarray
    """The lowest value of the file, and the highest one."""
    highest: np.ndarray
    saturated: np.ndarray
    """The number of saturated values."""
    is_whole: bool
    """Whether all float values are whole numbers, as those of one-hot vectors and class indices."""
    range: OutputRange | None
    """The range of the file's output; None if its values are not those of integers."""

    def joined(self, other: ChannelSums) -> ChannelSums:
        """Return the sums over the samples of both. Both are of one file, with the same shift."""
        return ChannelSums(
            self.samples + other.samples,
            self.values + other.values,
            self.shift,
            self.first + other.first,
            self.second + other.second,
            self.noise + other.noise,
            self.float_values.joined(other.float_values),
            np.minimum(self.lowest, other.lowest),
            np.maximum(self.highest, other.highest),
            self.saturated + other.saturated,
            self.is_whole and other.is_whole,
            self.range,
        )


def channels_of(output: np.ndarray) -> int:
    """Return the number of channels of an output: the length of its last axis, or 1 if that is too long."""
    count = output.shape[-1] if output.ndim else 1
    return count if 2 <= count <= MAX_CHANNELS else 1


def shift_of(first: np.ndarray) -> np.ndarray:
    """Return the shift of each channel: its mean in the output of the first call, or 0 if that is not finite."""
    with np.errstate(all="ignore"):
        means = first.astype(np.float64).reshape(-1, channels_of(first)).mean(0) if first.size else np.zeros(1)
    shift: np.ndarray = np.where(np.isfinite(means), means, 0.0)
    return shift


def channel_sums(
    reference: np.ndarray, output: np.ndarray, shift: np.ndarray, range_: OutputRange | None
) -> ChannelSums | None:
    """Return the sums of one sample; None if it has no elements or another number of channels than the first call."""
    count = channels_of(reference)
    if not reference.size or count != len(shift):
        return None
    every = -(-reference.size // MAX_VALUES)
    f = reference.reshape(-1, count)[::every].astype(np.float64)
    q = output.reshape(-1, count)[::every].astype(np.float64)
    low, high = f.min(0), f.max(0)
    with np.errstate(all="ignore"):
        centred, difference = f - shift, f - q
        return ChannelSums(
            1,
            len(f),
            shift,
            centred.sum(0),
            np.square(centred).sum(0),
            np.square(difference).sum(0),
            Extremes(low, high, (f == low).sum(0), (f == high).sum(0)),
            q.min(0),
            q.max(0),
            _saturated(f, q, range_),
            bool((f == np.rint(f)).all()),
            range_,
        )


def _saturated(f: np.ndarray, q: np.ndarray, range_: OutputRange | None) -> np.ndarray:
    """Return how many values of each channel are saturated."""
    if range_ is None:
        return np.zeros(f.shape[1], np.int64)
    near, far = range_.step / 2, END_DISTANCE * (range_.high - range_.low)
    is_at_end = (q - range_.low < near) | (range_.high - q < near)
    count: np.ndarray = (is_at_end & (np.abs(f - q) > far)).sum(0)
    return count
