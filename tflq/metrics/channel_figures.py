"""Figures of an output's channels from their sums: SQNR, dead channels and saturated channels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tflq.metrics.channels import ChannelSums

MIN_SAMPLES = 10
"""With fewer samples, no channel is dead and nothing is said of deviations: a channel may look constant by chance."""
HARDLY_VARIES = 0.01
"""An output or a channel hardly varies if its deviation from its mean is below this part of its root mean square."""
SATURATED_SHARE = 0.03
"""A channel is saturated if more than this share of its values is."""
MIN_GAP = 4.0
"""A channel is of a smaller scale than all channels that vary if their float ranges exceed its own by this factor."""
PROBABILITY_STEPS = (1 / 256, 1 / 32768)
"""The steps that SOFTMAX and LOGISTIC write. On them, a probability below one step is 0, as it should be."""
LISTED_CHANNELS = 1024
"""The SQNR of each channel is listed if there are no more channels."""
LOWEST_DB = -200.0
DIGITS = 2
"""Decimals of an SQNR in dB. So the order in which samples are added up makes no difference."""


@dataclass(frozen=True)
class Channels:
    """The fidelity of one output by channel. A channel is an index of its last axis."""

    count: int
    worst: int | None
    """The channel with the lowest SQNR; None if all are equal to the float32 file's, or hardly vary."""
    worst_sqnr_db: float | None
    """The SQNR of that channel. The signal is the deviation from the mean of the channel."""
    sqnr_db: tuple[float | None, ...]
    """The SQNR of each channel; None if it is equal, or hardly varies. Empty if there are more than 1,024 channels."""
    dead: tuple[int, ...]
    """The channels that vary in the float32 file, but are constant in this file."""
    saturated: tuple[int, ...]
    """The channels with more than 3 % of values at an end of the file's range, where the float value is not."""


def channel_figures(sums: ChannelSums) -> Channels | None:
    """Return the figures of the channels; None if the output has only one."""
    if len(sums.shift) == 1:
        return None
    ratios = _centered_sqnr_db(deviation(sums), sums.noise, level(sums))
    worst = int(np.nanargmin(ratios)) if np.nanmin(ratios, initial=np.inf) < np.inf else None
    measured = [_reported(ratio) for ratio in ratios.tolist()]
    return Channels(
        count=len(measured),
        worst=worst,
        worst_sqnr_db=None if worst is None else measured[worst],
        sqnr_db=tuple(measured) if len(measured) <= LISTED_CHANNELS else (),
        dead=tuple(dead_channels(sums).tolist()),
        saturated=tuple(saturated_channels(sums).tolist()),
    )


def centered_sqnr_db(sums: ChannelSums) -> float | None:
    """Return the SQNR of the whole output in dB, where the signal is the deviation from the mean of each channel.

    Below 0 dB, the file's answers are worse than the mean of the float values. The ratio is None if the outputs are
    equal, or if the float values hardly vary.
    """
    signal, noise, power = (np.atleast_1d(each.sum()) for each in (deviation(sums), sums.noise, level(sums)))
    return _reported(float(_centered_sqnr_db(signal, noise, power)[0]))


def _centered_sqnr_db(signal: np.ndarray, noise: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Return +inf where there is no noise, NaN where the float values hardly vary, -inf where one is not finite."""
    with np.errstate(all="ignore"):
        ratios = 10 * np.log10(signal / noise)
    ratios = np.where(hardly_varies(signal, power), np.nan, ratios)
    ratios = np.where(np.isfinite(power) & np.isfinite(noise), ratios, -np.inf)
    found: np.ndarray = np.where(noise == 0, np.inf, ratios)
    return found


def _reported(ratio: float) -> float | None:
    return None if math.isnan(ratio) or ratio == math.inf else round(max(ratio, LOWEST_DB), DIGITS)


def deviation(sums: ChannelSums) -> np.ndarray:
    """Return for each channel the sum of squares of the float values' deviation from the channel's mean."""
    with np.errstate(all="ignore"):
        power: np.ndarray = np.maximum(sums.second - np.square(sums.first) / sums.values, 0.0)
    return power


def level(sums: ChannelSums) -> np.ndarray:
    """Return for each channel the sum of squares of the float values."""
    with np.errstate(all="ignore"):
        power: np.ndarray = deviation(sums) + np.square(sums.first / sums.values + sums.shift) * sums.values
    return power


def hardly_varies(deviations: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return where values hardly differ from their mean, from their sums of squares."""
    is_flat: np.ndarray = ~(deviations > HARDLY_VARIES**2 * levels)
    return is_flat


def dead_channels(sums: ChannelSums) -> np.ndarray:
    """Return the indices of the dead channels: the float values vary, but those of the file are constant.

    Rounding alone also makes channels constant that hardly matter, such as the probability of a class that does not
    occur. So a channel whose float values differ by less than two steps is dead only if it is of a smaller scale than
    all channels that vary in the file, and if the output is not one of probabilities.
    """
    if sums.samples < MIN_SAMPLES:
        return np.zeros(0, np.int64)
    extremes = sums.float_values
    spread = extremes.high - extremes.low
    mostly = np.maximum(extremes.at_low, extremes.at_high)
    varies = ~hardly_varies(deviation(sums), level(sums)) & (2 * mostly <= sums.values) & np.isfinite(spread)
    constant = varies & (sums.lowest == sums.highest)
    if sums.range is not None:
        is_rounded = constant & (spread < 2 * sums.range.step)
        has_probabilities = np.isclose(sums.range.step, PROBABILITY_STEPS, rtol=1e-4).any()
        if has_probabilities or not is_of_smaller_scale(spread, is_rounded, varies & ~constant):
            constant &= ~is_rounded
    return np.flatnonzero(constant)


def is_of_smaller_scale(spread: np.ndarray, rounded: np.ndarray, living: np.ndarray) -> bool:
    """Return whether the channels that are rounded to a constant have far smaller ranges than those that are not."""
    if not rounded.any() or not living.any():
        return True
    return bool(spread[living].min() >= MIN_GAP * spread[rounded].max())


def saturated_channels(sums: ChannelSums) -> np.ndarray:
    """Return the indices of the channels that are saturated."""
    return np.flatnonzero(sums.saturated > SATURATED_SHARE * sums.values)
