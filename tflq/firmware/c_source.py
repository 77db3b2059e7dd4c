"""A .tflite file as C++ source: the array, and what a program needs to know about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tflq.firmware.c_text import byte_lines, c_type, comment, float_literal, identifier
from tflq.firmware.io_row import IoRow
from tflq.firmware.real_numbers import C_TYPES, plus

MARK = "// Written by tflq"
"""The start of each source file. A file that starts otherwise is not replaced by an older run's cleaning."""


@dataclass(frozen=True)
class ModelSource:
    """The contents of the C++ source of one model."""

    name: str
    """The name of the .tflite file without its suffix."""
    content: bytes
    sha256: str
    arena_bytes: int
    registrations: tuple[str, ...]
    """The methods that add the ops; see `op_resolver`."""
    rows: tuple[IoRow, ...]

    @property
    def array(self) -> str:
        return f"g_{identifier(self.name)}_model_data"

    @property
    def namespace(self) -> str:
        return f"{identifier(self.name)}_model"

    @property
    def guard(self) -> str:
        return f"TFLQ_{identifier(self.name).upper()}_H_"


def heading(model: ModelSource) -> str:
    return f"{MARK} from {comment(model.name)}.tflite, {len(model.content)} bytes, SHA-256 {model.sha256}."


def array_source(model: ModelSource) -> str:
    """Return the text of NAME.cc. The array is as large as the file, however long its text is."""
    lines = [
        heading(model),
        f'#include "{model.name}.h"',
        "",
        f"alignas(16) const unsigned char {model.array}[] = {{",
        *byte_lines(model.content),
        "};",
        f"const unsigned int {model.array}_size = {len(model.content)};",
    ]
    return "\n".join(lines) + "\n"


def header(model: ModelSource) -> str:
    """Return the text of NAME.h."""
    lines = [
        heading(model),
        f"#ifndef {model.guard}",
        f"#define {model.guard}",
        "",
        "#include <math.h>",
        "",
        "#include <cstddef>",
        "#include <cstdint>",
        "",
        f"extern const unsigned char {model.array}[];",
        f"extern const unsigned int {model.array}_size;",
        "",
        f"namespace {model.namespace} {{",
        "",
        *_arena(model),
        "",
        *_operators(model),
        *(line for row in model.rows for line in _port(row)),
        "",
        f"}}  // namespace {model.namespace}",
        "",
        f"#endif  // {model.guard}",
    ]
    return "\n".join(lines) + "\n"


def _arena(model: ModelSource) -> Iterator[str]:
    yield "// The arena for reference kernels on a processor with 64 bits; one with 32 bits needs less."
    yield "// Kernels of a vendor may need more. Align it: alignas(16) static std::uint8_t arena[kArenaSize];"
    yield f"constexpr std::size_t kArenaSize = {model.arena_bytes};"


def _operators(model: ModelSource) -> Iterator[str]:
    """Yield a function that adds the ops. It is a template, so this header does not need the library."""
    known = [name for name in model.registrations if " " not in name]
    custom = [name.split(" ", 1)[1] for name in model.registrations if " " in name]
    yield "// tflite::MicroMutableOpResolver<kOpCount> resolver; AddOps(resolver);"
    yield f"constexpr int kOpCount = {len(model.registrations)};"
    yield "template <typename Resolver>"
    yield "bool AddOps(Resolver& resolver) {"
    if custom:
        yield f"  // Add your own kernels of these ops with AddCustom: {comment(', '.join(custom))}"
    if not known:
        yield "  (void)resolver;"
    calls = [f"resolver.{name}() == 0" for name in known] or ["true"]
    yield f"  return {' && '.join(calls[:1])}" + "".join(f" &&\n         {call}" for call in calls[1:]) + ";"
    yield "}"


def _port(row: IoRow) -> Iterator[str]:
    """Yield the size, the scale and the function of an input or output."""
    prefix = f"{'Input' if row.side == 'in' else 'Output'}{row.index}"
    sizes = ", ".join("?" if size == -1 else str(size) for size in row.shape)
    yield ""
    yield f"// {row.side}put {row.index}, {comment(row.name)}: {row.dtype} [{comment(sizes)}]. {comment(row.formula)}"
    if row.preprocessing:
        yield f"// Before: {comment(row.preprocessing)}"
    yield f"constexpr std::size_t k{prefix}Size = {math.prod(map(abs, row.shape))};"
    affine = row.affine
    if affine is None:
        return
    kind, low, high = c_type(row.dtype), *affine.limits
    yield f"constexpr float k{prefix}Scale = {float_literal(affine.scale)};"
    yield f"constexpr int k{prefix}ZeroPoint = {affine.zero_point};"
    if row.side == "in":
        yield f"inline {kind} Quantize{prefix}(float x) {{"
        yield f"  const float q = rintf(x / k{prefix}Scale){plus(affine.zero_point)};"
        yield f"  return static_cast<{kind}>(q < {low} ? {low} : q > {high} ? {high} : q);"
        yield "}"
    yield f"inline float Dequantize{prefix}({kind} q) {{ return (q{plus(-affine.zero_point)}) * k{prefix}Scale; }}"


def has_c_types(model: ModelSource) -> bool:
    """Return whether all inputs and outputs have a type in C++."""
    return all(row.dtype in C_TYPES for row in model.rows)
