"""Unlike scales under one scale: channels of one activation, or the inputs that an op joins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WIDTH_RATIO = 8.0
"""Ranges or channels that share a scale are unlike if their widths differ by more than this factor."""
JOINS = frozenset({"CONCATENATION", "PACK", "MAXIMUM", "MINIMUM"})
"""Ops whose inputs and output share one scale."""


def unlike_channels(peaks: Sequence[float]) -> tuple[str, float] | None:
    """Return the sentence and the factor if the largest channel exceeds the median one; None if they are alike.

    `peaks`: the largest magnitude in each channel.
    """
    positive = np.array([peak for peak in peaks if peak > 0])
    factor = float(positive.max() / np.median(positive)) if len(positive) > 2 else 1.0
    if factor <= WIDTH_RATIO:
        return None
    return (
        f"its channels share one scale, but the largest channel is {factor:.3g} times as large as the median one",
        factor,
    )


def unlike_inputs(widths: Sequence[float], words: Sequence[str]) -> tuple[str, float] | None:
    """Return the sentence and the factor if an op gives one scale to inputs of unlike ranges.

    `widths` are those of the ranges, and `words` the ranges in words.
    """
    if len(widths) < 2:
        return None
    narrow, wide = int(np.argmin(widths)), int(np.argmax(widths))
    factor = widths[wide] / max(widths[narrow], 1e-30)
    if factor <= WIDTH_RATIO:
        return None
    return f"it gives one scale to ranges that differ {factor:.3g}-fold: {words[narrow]} and {words[wide]}", factor
