"""A commented recipe, made from a model's signature, that runs as it is with random numbers for data."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tflq import sources
from tflq.datasets import TensorSpec
from tflq.errors import SourceError
from tflq.sources import Described, Keras, SavedModel
from tflq.worker import Listener, Task, Workers

PICTURE_SIZE = 224
OTHER_SIZE = 16
"""Stand in where a signature leaves sizes open; the person knows better."""


def recipe_for(model: Path, folder: Path, listen: Listener) -> str:
    """The text of a recipe for the model, with paths as seen from the folder; SourceError where it cannot be read."""
    keras = model.suffix in (".keras", ".h5", ".hdf5")
    source = Keras(keras=model) if keras else SavedModel(saved_model=model)
    source.check()
    with tempfile.TemporaryDirectory() as work, Workers(Path(work) / "log", None, listen) as workers:
        task = Task("read the signature", sources.describe, (source, Path(work) / "model"), SourceError)
        described = workers.run(task).value
    return "\n".join(_lines(os.path.relpath(model, folder), keras, described)) + "\n"


def _lines(model: str, keras: bool, described: Described) -> Iterator[str]:
    yield "# Made from the model's signature. It runs as it is, with random numbers for data: put yours in their place."
    yield "model:"
    yield f"  {'keras' if keras else 'saved_model'}: {model}"
    if not keras:
        yield f"  signature: {described.signature}  # it has: {', '.join(described.signatures)}"
    yield "  batch_size: 1  # or dynamic"
    yield "inputs:"
    for spec in described.inputs:
        yield from _input(spec)
    yield from _data(described)
    yield "variants: [float32, dynamic, float16, int8, int8_only, int16x8, int16x8_only]"
    yield "# gates: {max_metric_drop: 0.01, min_sqnr_db: 20, max_size_ratio: 0.3}"


def _input(spec: TensorSpec) -> Iterator[str]:
    shape = "any" if spec.shape is None else "[" + ", ".join("?" if d is None else str(d) for d in spec.shape) + "]"
    yield f"  {spec.name}:  # {spec.dtype} {shape}"
    yield f"    column: {spec.name}  # of the dataset"
    if spec.shape is None or None in spec.shape[1:]:
        yield f"    shape: {_guess(spec.shape)}  # the signature leaves sizes open: put yours"
    yield "    # resize: [224, 224]"
    yield "    # scale: 0.00784313725  # value * scale + offset; or mean and std"
    yield "    # offset: -1.0"


def _guess(shape: tuple[int | None, ...] | None) -> list[int]:
    if shape is None:
        return [1, OTHER_SIZE]
    picture = len(shape) == 4 and shape[-1] in (1, 3, 4)
    return [1, *(size or (PICTURE_SIZE if picture else OTHER_SIZE) for size in shape[1:])]


def _data(described: Described) -> Iterator[str]:
    yield "# The kinds of dataset:"
    for kind in (
        '{tfds: mnist, split: "train[:200]"}',
        "{npz: data.npz}",
        "{images: photos/, labels: folders}",
        '{tfrecord: "shards/*.tfrecord", features: {image: image, label: int64}}',
        "{python: mymodule:rows}",
    ):
        yield f"#   {kind}"
    yield "calibration:"
    yield "  dataset: {random: {seed: 0}}"
    yield "  samples: 20  # a few hundred, of real data"
    yield "evaluation:"
    yield "  dataset: {random: {seed: 1}}"
    yield "  samples: 20"
    if len(described.outputs) > 1:
        yield f"  # output: {described.outputs[0].name}  # of {', '.join(spec.name for spec in described.outputs)}"
    yield "  # label: label"
    yield "  # metric: top1  # or top5, mae, mse, rmse, r2, binary_accuracy, mean_iou, {python: module:function}"
