"""Make the files for firmware from one finished .tflite file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq import cache, flatbuffer
from tflq.errors import EvaluationError
from tflq.firmware.c_source import MARK, ModelSource, array_source, has_c_types, header
from tflq.firmware.golden import Arrays, GoldenVectors, golden_header, golden_source
from tflq.firmware.io_row import IoRow
from tflq.firmware.op_resolver import registrations
from tflq.firmware.schema import Artifacts
from tflq.firmware.strip import stripped
from tflq.interpreter import quantized, reference_outputs
from tflq.targets.arena import arena_bytes
from tflq.targets.memory_plan import memory_plan
from tflq.worker import ProgressCallback

SUFFIXES = (".cc", ".h", "_golden.cc", "_golden.h")
"""The endings of the names of the source files, after the name of the .tflite file."""
_MAX_GOLDEN_ELEMENTS = 200_000
"""There are fewer golden vectors if they have more elements than that, but at least one."""
Calls = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class FirmwareFiles:
    """The names of the source files, and what the .tflite file is after stripping."""

    names: tuple[str, ...]
    sha256: str
    size_bytes: int


def make_artifacts(
    _: ProgressCallback, path: Path, artifacts: Artifacts, rows: tuple[IoRow, ...], calls: Calls
) -> FirmwareFiles:
    """Strip the file and write the source files beside it, as the recipe asks.

    `calls` have the real inputs of a few calls by name. EvaluationError if the stripped file would answer otherwise.
    """
    inputs = tuple(file_inputs(rows, call) for call in calls)
    if artifacts.strip:
        path.write_bytes(_same(path.read_bytes(), inputs))
    content, sha256 = path.read_bytes(), cache.sha256(path)
    texts = source_files(_model(path.stem, content, sha256, rows), inputs) if artifacts.c_array else {}
    for name, text in texts.items():
        path.with_name(name).write_text(text, encoding="utf-8")
    return FirmwareFiles(tuple(texts), sha256, len(content))


def source_files(model: ModelSource, inputs: Sequence[Arrays]) -> dict[str, str]:
    """Return the texts of the source files by name. Without a type in C++ for an input, there are no golden vectors."""
    texts = [array_source(model), header(model)]
    if inputs and has_c_types(model):
        found = reference_outputs(model.content, inputs)
        golden = GoldenVectors(tuple(inputs), found.calls, found.kernels).fewer(_MAX_GOLDEN_ELEMENTS)
        texts += [golden_source(model, golden), golden_header(model, golden)]
    return {model.name + suffix: text for suffix, text in zip(SUFFIXES, texts, strict=False)}


def old_sources(folder: Path, stem: str, kept: Sequence[str] = ()) -> Iterator[str]:
    """Yield the names of the source files that an earlier run wrote for the file with that stem.

    The names in `kept` are left out, and so are files that tflq did not write.
    """
    for path in (folder / (stem + suffix) for suffix in SUFFIXES):
        if path.name not in kept and path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                is_ours = file.read(len(MARK)) == MARK
            if is_ours:
                yield path.name


def file_inputs(rows: tuple[IoRow, ...], call: Mapping[str, np.ndarray]) -> Arrays:
    """Return the inputs in the dtypes and in the order of the file."""
    return tuple(
        quantized(call[row.name], {"quantization": (row.scale or 0, row.zero_point or 0), "dtype": row.dtype})
        for row in rows
        if row.side == "in"
    )


def _same(content: bytes, inputs: Sequence[Arrays]) -> bytes:
    """Return the stripped file. EvaluationError if its outputs are not those of the file, bit for bit."""
    smaller = stripped(content)
    before, after = (reference_outputs(each, inputs).calls for each in (content, smaller))
    arrays = zip((each for call in before for each in call), (each for call in after for each in call), strict=True)
    if any(one.tobytes() != other.tobytes() for one, other in arrays):
        raise EvaluationError("after strip, it gives other outputs: leave out artifacts.strip, and report this file")
    return smaller


def _model(name: str, content: bytes, sha256: str, rows: tuple[IoRow, ...]) -> ModelSource:
    graph, options = flatbuffer.read(content), flatbuffer.operator_options(content)
    arena = arena_bytes(graph, options, memory_plan(graph, options))
    return ModelSource(name, content, sha256, arena, registrations(graph), rows)
