"""Write a commented recipe from a model's signature and ops. It runs without changes, on random numbers."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from tflq import recipe
from tflq.contract import DYNAMIC_RANGE_MINIMUM_ELEMENTS, unquantizable_ops
from tflq.datasets import DATASETS, TensorSpec
from tflq.errors import SourceError, TflqError, printable_line
from tflq.flatbuffer import Graph
from tflq.float_graph import float_graph
from tflq.leftovers import run_folder
from tflq.metrics.metric_list import METRIC_EXAMPLES, METRIC_NAMES
from tflq.modes import MODE_NAMES, QAT_MODES
from tflq.pipeline import Settings
from tflq.sources.prepare import describe
from tflq.sources.prepared import SourceDescription
from tflq.sources.schema import KIND_CLASSES, kind_of
from tflq.weight_only import DENSE_SHARE, dense_weights, share_of_dense
from tflq.worker import Task, Workers

IMAGE_SIZE = 224
OTHER_SIZE = 16
"""The sizes that replace open sizes of a signature. The user should correct them."""


STRICT_MODES = {"int8_only": "int8", "int16x8_only": "int16"}
"""The modes that refuse ops in float, with the dtype of their activations."""
NOT_KNOWN = "it is not known how many of its weights are those of dense layers"
LINE = 118
"""The largest number of characters in a line of a comment."""


def recipe_for(model: Path, folder: Path, settings: Settings) -> str:
    """Return the text of a recipe for the model. Paths are relative to the folder.

    The model is converted to float32 to see which modes cannot keep their contract. If that fails, a comment says why.
    SourceError if the model cannot be read.
    """
    kind = kind_of(model.name)
    source = KIND_CLASSES[kind].model_validate({kind: model})
    source.check()
    path = _path(model, folder)
    if printable_line(path) != path:
        raise SourceError(f"{printable_line(path)}: a recipe cannot have this path: rename the file or the folder")
    with run_folder() as work:
        with Workers(Path(work) / "log", settings.timeout, settings.listen) as workers:
            task = Task("read the signature", describe, (source, Path(work) / "model"), SourceError)
            described = workers.run(task).value
        draft, left_out, obstacle = Path(work) / "draft.yaml", {**_useless(described), "dynamic4": NOT_KNOWN}, ""
        draft.write_text(_text(str(model.resolve()), kind, described, left_out), encoding="utf-8")
        try:
            graph = float_graph(recipe.load(draft), settings)
            del left_out["dynamic4"]
            left_out |= _refused(graph)
        except TflqError as error:
            obstacle = str(error).replace(str(draft), "this recipe")
    return _text(path, kind, described, left_out, obstacle)


def _refused(graph: Graph) -> dict[str, str]:
    """Return the modes that would end in an error for the ops of the float32 file, each with the reason."""
    reasons, share = dict[str, str](), share_of_dense(graph, dense_weights(graph))
    if share < DENSE_SHARE:
        reasons["dynamic4"] = (
            f"{share:.0%} of the constants are weights of dense layers in rows of whole blocks, and {DENSE_SHARE:.0%}"
            " are needed"
        )
    for mode, dtype in STRICT_MODES.items():
        types = list(unquantizable_ops(graph, dtype))
        if types:
            verb, them = ("has", "it") if len(types) == 1 else ("have", "them")
            allowed = f"{{mode: {mode}, keep_float: [{', '.join(types)}]}}"
            reasons[mode] = f"{', '.join(types)} {verb} no {dtype} version; {allowed} leaves {them} in float"
    return reasons


def _path(model: Path, folder: Path) -> str:
    """Return the path relative to the folder, or absolute if they share no folder."""
    model, folder = model.resolve(), folder.resolve()
    is_apart = len(Path(os.path.commonpath([model, folder])).parts) == 1
    return str(model) if is_apart else os.path.relpath(model, folder)


def _text(model: str, kind: str, described: SourceDescription, left_out: Mapping[str, str], obstacle: str = "") -> str:
    """Return the recipe. `left_out` maps modes to reasons; `obstacle` says why the model cannot be converted."""
    return "\n".join([*_lines(model, kind, described), *_variants(left_out), *_failure(obstacle)]) + "\n"


def _lines(model: str, kind: str, described: SourceDescription) -> Iterator[str]:
    yield "# Written by tflq init from the model's signature. It runs as it is, on random numbers: put in your data."
    yield "model:"
    yield f"  {kind}: {_scalar(model)}"
    if kind == "saved_model" or (kind == "tflite" and len(described.signatures) > 1):
        yield f"  signature: {_scalar(described.signature)}  # the model has: {', '.join(described.signatures)}"
    is_open = all(not spec.shape or spec.shape[0] is None for spec in described.inputs)
    yield "  batch_size: 1" + ("  # or dynamic, which leaves the batch size open" if is_open else "")
    yield "inputs:"
    for spec in described.inputs:
        yield from _input(spec)
    yield from _data(described)


def _variants(left_out: Mapping[str, str]) -> Iterator[str]:
    yield f"variants: [{', '.join(mode for mode in MODE_NAMES if mode not in QAT_MODES and mode not in left_out)}]"
    for mode, reason in left_out.items():
        yield from _comment(f"{mode} is left out: {reason}")
    yield "# gates: {max_metric_drop: 0.01, min_sqnr_db: 20, max_size_ratio: 0.3}"


def _failure(obstacle: str) -> Iterator[str]:
    if obstacle:
        yield from _comment(f"This recipe fails, because the model cannot be converted as it is: {obstacle}")


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, LINE - 2, break_long_words=False, break_on_hyphens=False)]


def _useless(described: SourceDescription) -> dict[str, str]:
    """Return the modes that would leave the model as it is, each with the reason."""
    largest = described.largest_weight
    reasons: dict[str, str] = {}
    if largest < DYNAMIC_RANGE_MINIMUM_ELEMENTS:
        reason = (
            f"it changes only weights of {DYNAMIC_RANGE_MINIMUM_ELEMENTS:,} elements or more, and the largest has"
            f" {largest:,}"
        )
        reasons |= {"dynamic": reason, "weights8": reason}
    if not largest:
        reasons["float16"] = "it changes only weights, and the model has none"
    return reasons


def _scalar(text: str) -> str:
    """Return the text as YAML, in quotes if needed."""
    return yaml.safe_dump(text, width=len(text) + 10, allow_unicode=True).splitlines()[0]


def _input(spec: TensorSpec) -> Iterator[str]:
    shape = "any" if spec.shape is None else "[" + ", ".join("?" if d is None else str(d) for d in spec.shape) + "]"
    yield f"  {_scalar(spec.name)}:  # {spec.dtype} {shape}"
    yield f"    column: {_scalar(spec.name)}  # column of the dataset"
    sizes = _sizes(spec.shape)
    if spec.shape is None or None in spec.shape[1:]:
        batch = "null" if spec.shape is None or spec.shape[0] is None else str(spec.shape[0])
        shape_text = ", ".join([batch, *map(str, sizes)])
        yield f"    shape: [{shape_text}]  # the signature leaves sizes open: put in your sizes; null is the batch"
    if _is_image(spec.shape):
        yield f"    # resize: {sizes[:2]}"
    if _has_channels_first(spec.shape):
        yield "    # layout: nchw  # if the images in the dataset are [height, width, channels]"
        yield f"    # resize: {sizes[1:]}"
    if spec.dtype.startswith("float"):
        yield "    # scale: 0.00784313725  # value * scale + offset, or give mean and std"
        yield "    # offset: -1.0"


def _is_image(shape: tuple[int | None, ...] | None) -> bool:
    return shape is not None and len(shape) == 4 and shape[-1] in (1, 3, 4)


def _has_channels_first(shape: tuple[int | None, ...] | None) -> bool:
    return not _is_image(shape) and shape is not None and len(shape) == 4 and shape[1] in (1, 3, 4)


def _sizes(shape: tuple[int | None, ...] | None) -> list[int]:
    """Return the sizes of one sample. Open sizes get a default."""
    stand_in = IMAGE_SIZE if _is_image(shape) or _has_channels_first(shape) else OTHER_SIZE
    return [OTHER_SIZE] if shape is None else [size or stand_in for size in shape[1:]]


def _data(described: SourceDescription) -> Iterator[str]:
    yield "# Kinds of dataset:"
    yield from (f"#   {kind.EXAMPLE}" for kind in DATASETS if kind.EXAMPLE)
    yield "calibration:"
    yield "  dataset: {random: {seed: 0}}"
    yield "  samples: 20  # with real data, a few hundred"
    yield "evaluation:"
    yield "  dataset: {random: {seed: 1}}"
    yield "  samples: 20"
    if len(described.outputs) > 1:
        yield f"  # output: {described.outputs[0].name}  # one of {', '.join(spec.name for spec in described.outputs)}"
    yield "  # label: label  # column of the dataset"
    first, *others = METRIC_NAMES
    yield f"  # metric: {first}"
    yield from (f"  {line}" for line in _comment(f"or {', '.join((*others, *METRIC_EXAMPLES))}"))
