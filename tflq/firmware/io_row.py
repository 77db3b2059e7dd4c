"""The I/O card: one row for each input and output of a file, in the order of the file.

Callers in C, in Java and on microcontrollers go by the index, not by the name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from tflq.firmware.real_numbers import C_TYPES, FIELDS, Affine, pixel_shift, plus
from tflq.flatbuffer import Graph, Signature, Tensor
from tflq.inputs.in_words import in_words
from tflq.inputs.schema import Input

_PIXEL_RANGES = ((0, 1), (-1, 1), (0, 255))
"""The ranges of values to which models scale pixels."""


@dataclass(frozen=True)
class IoRow:
    """An input or output of a file with its index, and how its elements stand for real numbers."""

    side: Literal["in", "out"]
    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    """The shape; -1 if the size may change."""
    scale: float | None
    zero_point: int | None
    formula: str
    python: str
    """A line of Python: `x` holds real values, and `q` what the file takes or returns."""
    c: str
    """A line of C++ for TensorFlow Lite Micro; empty if it has no field for the dtype."""
    preprocessing: str = ""
    """The preprocessing of the recipe in words; empty if there is none."""

    @property
    def affine(self) -> Affine | None:
        """The quantization; None if the file takes or returns the values themselves."""
        if self.scale is None or self.zero_point is None:
            return None
        return Affine(self.dtype, self.scale, self.zero_point)


def io_rows(graph: Graph, signature: Signature) -> tuple[IoRow, ...]:
    """Return a row for every input, then for every output, in the order of the subgraph of the signature."""
    subgraph = graph.subgraphs[signature.subgraph]
    sides: tuple[tuple[Literal["in", "out"], tuple[int, ...], tuple[tuple[str, int], ...]], ...] = (
        ("in", subgraph.inputs, signature.inputs),
        ("out", subgraph.outputs, signature.outputs),
    )
    return tuple(
        _row(side, place, _name(subgraph.tensors[index], entries), subgraph.tensors[index])
        for side, indices, entries in sides
        for place, index in enumerate(indices)
    )


def _name(tensor: Tensor, entries: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(name for name, index in entries if index == tensor.index) or tensor.name


def _row(side: Literal["in", "out"], index: int, name: str, tensor: Tensor) -> IoRow:
    affine = _affine(tensor)
    row = IoRow(
        side=side,
        index=index,
        name=name,
        dtype=tensor.dtype,
        shape=tensor.shape_signature or tensor.shape,
        scale=affine.scale if affine else None,
        zero_point=affine.zero_point if affine else None,
        formula=f"{tensor.dtype} values as they are",
        python=f"q = x.astype(np.{tensor.dtype})" if side == "in" else "x = q",
        c=_plain_c(side, index, tensor.dtype),
    )
    if affine is None:
        return row
    return _read(row, affine) if side == "out" else _fed(row, affine, _assumed_shift(affine))


def _affine(tensor: Tensor) -> Affine | None:
    quantization = tensor.quantization
    if quantization is None or tensor.dtype not in ("int8", "uint8", "int16", "uint16"):
        return None
    if not (quantization.scales and quantization.zero_points and 0 < quantization.scales[0] < float("inf")):
        return None
    return Affine(tensor.dtype, quantization.scales[0], quantization.zero_points[0])


def _plain_c(side: str, index: int, dtype: str) -> str:
    if dtype not in FIELDS:
        return ""
    element = f"interpreter.{side}put({index})->data.{FIELDS[dtype]}[i]"
    return f"{element} = x;" if side == "in" else f"{C_TYPES[dtype]} x = {element};"


def _fed(row: IoRow, affine: Affine, pixels: str) -> IoRow:
    low, high = affine.limits
    shift = plus(affine.zero_point)
    formula = f"q = clip(round(x / {affine.number}){shift}, {low}, {high})"
    rounded = f"rintf(x / {affine.c_number}){shift}"
    return replace(
        row,
        formula=f"{pixels}; in general {formula}" if pixels else formula,
        python=f"q = np.clip(np.rint(x / {affine.number}){shift}, {low}, {high}).astype(np.{row.dtype})",
        c=f"interpreter.input({row.index})->data.{FIELDS[row.dtype]}[i] ="
        f" ({C_TYPES[row.dtype]})fminf(fmaxf({rounded}, {low}), {high});",
    )


def _read(row: IoRow, affine: Affine) -> IoRow:
    shift = plus(-affine.zero_point)
    return replace(
        row,
        formula=f"x = (q{shift}) * {affine.number}",
        python=f"x = (q.astype(np.float32){shift}) * np.float32({affine.number})",
        c=f"float x = (interpreter.output({row.index})->data.{FIELDS[row.dtype]}[i]{shift}) * {affine.c_number};",
    )


def _assumed_shift(affine: Affine) -> str:
    """Return how pixels are fed if the model takes values of a usual range, and only then; else an empty text."""
    for low, high in _PIXEL_RANGES:
        shift = pixel_shift(affine, (high - low) / 255, low)
        if shift is not None:
            return f"{_pixels(affine, shift)}, if the model takes values from {low} to {high}"
    return ""


def _pixels(affine: Affine, shift: int) -> str:
    if shift == 0:
        return f"feed {'uint8 ' if affine.dtype == 'uint8' else ''}pixels from 0 to 255 as they are"
    return f"q = pixel{plus(shift)} for pixels from 0 to 255"


def with_preprocessing(rows: tuple[IoRow, ...], inputs: Mapping[str, Input]) -> tuple[IoRow, ...]:
    """Return the rows with what the recipe does to each input. Then it is known what a pixel becomes."""
    return tuple(_preprocessed(row, inputs[row.name]) if row.name in inputs else row for row in rows)


def _preprocessed(row: IoRow, config: Input) -> IoRow:
    if row.side == "out":
        return row
    return replace(_known(row, config), preprocessing=in_words(config))


def _known(row: IoRow, config: Input) -> IoRow:
    """Return the row with the formula of a pixel, if the recipe makes pixels into real numbers by one line."""
    affine, scaling = row.affine, config.scaling
    if affine is None:
        return row
    shift = pixel_shift(affine, *scaling) if scaling is not None else None
    if shift is None:
        return row if scaling == (1.0, 0.0) else _fed(row, affine, "")
    return _fed_pixels(_fed(row, affine, _pixels(affine, shift)), shift)


def _fed_pixels(row: IoRow, shift: int) -> IoRow:
    moved = plus(shift)
    return replace(
        row,
        python=f"q = (pixels.astype(np.int16){moved}).astype(np.{row.dtype})"
        if moved
        else f"q = pixels.astype(np.{row.dtype})",
        c=f"interpreter.input({row.index})->data.{FIELDS[row.dtype]}[i] = ({C_TYPES[row.dtype]})(pixel{moved});",
    )


def code_lines(row: IoRow) -> Iterator[tuple[str, str]]:
    """Yield the languages with their lines."""
    yield "Python", row.python
    if row.c:
        yield "C++", row.c
