"""Golden vectors as C++ source: inputs of a file, and the outputs that it must give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tflq.firmware.c_source import ModelSource, heading
from tflq.firmware.c_text import c_type, number_lines
from tflq.firmware.io_row import IoRow

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class GoldenVectors:
    """The inputs and outputs of a few calls, in the dtypes and in the order of the file."""

    inputs: tuple[Arrays, ...]
    outputs: tuple[Arrays, ...]
    kernels: str
    """The kernels that computed the outputs."""

    def fewer(self, elements: int) -> GoldenVectors:
        """Return as many of the calls as have that many elements together, but at least one."""
        each = sum(array.size for array in (*self.inputs[0], *self.outputs[0]))
        count = max(1, elements // max(each, 1))
        return replace(self, inputs=self.inputs[:count], outputs=self.outputs[:count])


def golden_header(model: ModelSource, golden: GoldenVectors) -> str:
    """Return the text of NAME_golden.h."""
    guard = model.guard.replace("_H_", "_GOLDEN_H_")
    lines = [
        heading(model),
        f"// Golden vectors: for each call, the inputs and the outputs of {golden.kernels}.",
        "// Other kernels may round otherwise, so that an integer differs by a few steps.",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#include <cstddef>",
        "#include <cstdint>",
        "",
        f"namespace {model.namespace} {{",
        "",
        f"constexpr std::size_t kGoldenCount = {len(golden.inputs)};",
        *(f"extern const {_declared(row, values)};" for row, values in _arrays(model, golden)),
        "",
        f"}}  // namespace {model.namespace}",
        "",
        f"#endif  // {guard}",
    ]
    return "\n".join(lines) + "\n"


def golden_source(model: ModelSource, golden: GoldenVectors) -> str:
    """Return the text of NAME_golden.cc."""
    lines = [
        heading(model),
        f'#include "{model.name}_golden.h"',
        "",
        "#include <math.h>",
        "",
        f"namespace {model.namespace} {{",
    ]
    for row, values in _arrays(model, golden):
        lines += ["", f"const {_declared(row, values)} = {{"]
        lines += [line for call in values for line in ("    {", *number_lines(call), "    },")]
        lines.append("};")
    lines += ["", f"}}  // namespace {model.namespace}"]
    return "\n".join(lines) + "\n"


def _arrays(model: ModelSource, golden: GoldenVectors) -> Iterator[tuple[IoRow, Sequence[np.ndarray]]]:
    for row in model.rows:
        calls = golden.inputs if row.side == "in" else golden.outputs
        yield row, [call[row.index] for call in calls]


def _declared(row: IoRow, values: Sequence[np.ndarray]) -> str:
    prefix = "kGoldenInput" if row.side == "in" else "kGoldenOutput"
    return f"{c_type(row.dtype)} {prefix}{row.index}[kGoldenCount][{values[0].size}]"
