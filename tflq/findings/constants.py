"""Constants that changed beyond rounding: clipped to the range of float16, or rounded to a few values or to 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tflq.flatbuffer import ROLES, Graph, Operator, Subgraph, Tensor, has_real_values, real_values
from tflq.layerwise import align
from tflq.result import Finding

FLOAT16_MAX = 65504.0
FLOAT16_MIN = 2.0**-24
"""The smallest magnitude that float16 represents."""
BEYOND_ROUNDING = 0.05
"""A value of float16 changed beyond rounding if it differs by this part of itself."""
LOST_SHARE = 0.5
"""A channel is lost if more than this share of its values became 0."""
FEW_LEVELS, MANY_VALUES = 3, 16
"""A channel is also lost if at most FEW_LEVELS values are left of MANY_VALUES or more."""
NOTICEABLE_NOISE = 0.01
"""The error by rounding of a channel of weights, as a part of the sum of its squares, below which it is not lost."""
NEGLIGIBLE_SIGNAL = 1e-6
"""The sum of squares of a channel of weights, as a part of the median channel's, below which it hardly matters."""
NEGLIGIBLE_BIAS = 1e-3
"""The change of a bias, as a part of the largest weight of its op, below which it hardly matters."""
LARGEST_QUANTITY = 1e9
"""A larger constant stands for infinity, as in a mask, and not for a quantity."""
OF_MASK = "Use a smaller constant in the model, such as -1e4 for a mask"
LARGER_CONSTANT = "Use a larger constant in the model, such as 1e-6 for an epsilon"
MOST = 5
"""The largest number of findings about constants of one file; the gravest come first."""


@dataclass(frozen=True)
class _Change:
    """A constant before and after, as real numbers with the channels first."""

    operator: Operator
    tensor: Tensor
    stored: Tensor
    before: np.ndarray
    """The values, [channels, values]."""
    after: np.ndarray
    largest_weight: float
    """The largest magnitude of the weights if the constant is the bias of an op; else 0."""


def changed_constants(float32: Graph, file: Graph) -> Iterator[Finding]:
    """Yield a finding for each constant that changed beyond rounding, the largest changes first."""
    found = [(change, finding) for change in _changes(float32, file) for finding in _findings(change)]
    found.sort(key=lambda pair: -_relative_change(pair[0]))
    for _, finding in found[:MOST]:
        yield finding


def _changes(float32: Graph, file: Graph) -> Iterator[_Change]:
    """Yield the float32 constants that the file stores in fewer bits, each once."""
    alignment, seen = align(float32, file), set[int]()
    for (op, position), stored in alignment.constants.items():
        operator = alignment.float32.operators[op]
        tensor = alignment.float32.input(operator, position)
        if tensor is None or tensor.index in seen or tensor.dtype != "float32" or not tensor.is_constant:
            continue
        seen.add(tensor.index)
        is_smaller = stored.dtype in ("float16", "int8", "int4", "int16") and has_real_values(stored)
        if is_smaller and tensor.shape == stored.shape and tensor.needed_bytes:
            axis = _channel_axis(operator, position, tensor)
            yield _Change(
                operator,
                tensor,
                stored,
                _by_channel(np.asarray(tensor.data, np.float64), axis),
                _by_channel(real_values(stored), axis),
                _largest_weight(alignment.float32, operator, position),
            )


def _channel_axis(operator: Operator, position: int, tensor: Tensor) -> int | None:
    """Return the axis of the output channels of weights; None for other constants, which are one channel."""
    roles = ROLES.get(operator.type)
    return roles.channels if roles and position == roles.weights and len(tensor.shape) > 1 else None


def _largest_weight(subgraph: Subgraph, operator: Operator, position: int) -> float:
    roles = ROLES.get(operator.type)
    weights = subgraph.input(operator, roles.weights) if roles and position == roles.bias else None
    if weights is None or weights.data is None or weights.dtype != "float32":
        return 0.0
    return float(np.abs(weights.data).max(initial=0))


def _by_channel(values: np.ndarray, axis: int | None) -> np.ndarray:
    return values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def _relative_change(change: _Change) -> float:
    power = float(np.square(change.before).sum())
    return float(np.square(change.before - change.after).sum()) / max(power, 1e-300)


def _findings(change: _Change) -> Iterator[Finding]:
    if change.stored.dtype == "float16":
        yield from _of_float16(change)
    else:
        yield from _of_integers(change)


def _of_float16(change: _Change) -> Iterator[Finding]:
    """Find values beyond the range of float16, and constants of which most values are too small for it."""
    before, after = change.before.reshape(-1), change.after.reshape(-1)
    worst = int(np.abs(before).argmax())
    if FLOAT16_MAX < abs(before[worst]) < np.inf:
        cause = f"float16 has no value beyond {FLOAT16_MAX:,.0f}"
        remedy = "Divide the constant and what it is used with by one number in the model, do the Normalization outside"
        is_mask = abs(before[worst]) > LARGEST_QUANTITY
        yield _finding(change, worst, cause, OF_MASK if is_mask else f"{remedy} of it, or use mode int16x8")
        return
    nonzero, error = before != 0, np.abs(before - after)
    if error.max(initial=0) < NEGLIGIBLE_BIAS * change.largest_weight:
        return
    changed = nonzero & (error > BEYOND_ROUNDING * np.abs(before))
    if changed.sum() > LOST_SHARE * nonzero.sum():
        worst = int(np.where(changed, np.abs(before), -1).argmax())
        cause = f"float16 has no value below {FLOAT16_MIN:.0e} apart from 0, and few values near it"
        yield _finding(change, worst, cause, LARGER_CONSTANT)


def _of_integers(change: _Change) -> Iterator[Finding]:
    """Find the channels of which most values became 0, or which have only a few values left."""
    assert change.stored.quantization is not None
    stored, (channels, size) = change.stored.quantization.scales, change.before.shape
    if not stored:  # a channel in blocks has many scales, so that few levels in a block are not few in the channel
        return
    scales = np.array(stored if len(stored) == channels else [max(stored)] * channels)
    lost = _lost_channels(change.before, change.after, scales)
    if not len(lost):
        return
    channel = int(lost[np.square(change.before[lost]).sum(1).argmax()])
    scale = scales[channel]
    worst = channel * size + int(np.abs(change.before[channel] - change.after[channel]).argmax())
    which = f" in {len(lost)} of its {channels} channels" if channels > 1 else ""
    cause = f"the scale of {change.stored.dtype} is {scale:.3g}, which leaves few levels for its values{which}"
    remedy = "Give these values a constant of their own, or do the Normalization outside of the model"
    if channels > 1:
        remedy = "Give these values a constant of their own, or set per_channel: true if it is false"
    if channels == 1 and not change.after.any():
        cause = f"{change.stored.dtype} has no scale small enough for it: a step is {scale:.3g}"
        remedy = LARGER_CONSTANT
    yield _finding(change, worst, cause, remedy)


def _lost_channels(before: np.ndarray, after: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return the indices of the channels that are lost.

    Shapes: before and after [channels, values], scales [channels].

    Among several channels, one does not count if its weights are negligible, or if large weights hide its error. The
    error of a weight counts as at most half a step: what is beyond makes up for the errors of other weights.
    """
    nonzero = (before != 0).sum(1)
    vanished = ((before != 0) & (after == 0)).sum(1)
    is_lost = vanished > LOST_SHARE * nonzero
    is_narrow = np.ptp(after, 1) < (FEW_LEVELS - 0.5) * scales
    for channel in np.flatnonzero(is_narrow & ~is_lost & (nonzero >= MANY_VALUES)):
        has_many = len(np.unique(before[channel])) >= MANY_VALUES
        is_lost[channel] = has_many and len(np.unique(after[channel])) <= FEW_LEVELS
    if len(before) > 1:
        errors = np.minimum(np.abs(before - after), scales[:, np.newaxis] / 2)
        signal, noise = np.square(before).sum(1), np.square(errors).sum(1)
        typical = float(np.median(signal[signal > 0])) if signal.any() else 0.0
        is_lost &= (noise > NOTICEABLE_NOISE * signal) & (signal > NEGLIGIBLE_SIGNAL * typical)
    return np.flatnonzero(is_lost)


def _finding(change: _Change, worst: int, cause: str, remedy: str) -> Finding:
    before, after = float(change.before.reshape(-1)[worst]), float(change.after.reshape(-1)[worst])
    return Finding(
        "constant",
        f"constant {change.tensor.name.split(';')[0]!r} of {change.operator.type}",
        f"changed beyond rounding: {before:.6g} became {after:.6g}",
        cause,
        remedy,
        change.tensor.name,
        before,
        after,
    )
