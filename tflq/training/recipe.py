"""The recipe's section `training`, and what goes together with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from tflq.calibrate import SampleCount
from tflq.datasets import Dataset
from tflq.modes import LEARNED, QatInt8, asks_for_nothing
from tflq.strict import AsTuple, Location, Strict, or_words

Technique = Literal["prune", "cluster", "quantize"]
TECHNIQUES: tuple[Technique, ...] = ("prune", "cluster", "quantize")
"""In the order in which they are applied: each keeps what those before it made."""
Loss = Literal[
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
]
CROSS_ENTROPIES = ("sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy")
PATIENCE = 3


class Pruning(Strict):
    """Weights that are set to zero, the smallest of each layer, and stay there."""

    target_sparsity: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="The share of zeros at the end.")
    schedule: Literal["polynomial", "constant"] = Field(
        "polynomial", description="polynomial: from none, over the first half of the steps; constant: from the start."
    )


class Clustering(Strict):
    """Weights that share a few values in each layer."""

    clusters: Annotated[int, Field(ge=3)] = Field(16, description="Values that a layer has left.")


class Validation(Strict):
    """Samples that tell when to stop, and which epoch was the best; never the ones to measure on."""

    dataset: Dataset
    samples: SampleCount = Field("all", description="How many rows, a seeded sample, or `all`.")
    patience: PositiveInt = Field(
        PATIENCE, description="Epochs without a lower loss after which a technique is done; its best epoch is kept."
    )


class Training(Strict):
    """Fine-tuning with TensorFlow Model Optimization, for the variants that are made of the trained model."""

    techniques: Annotated[tuple[Technique, ...], AsTuple] = Field(
        description="Any of prune, cluster and quantize; applied in this order, each for so many epochs."
    )
    dataset: Dataset
    label: str = Field(description="The column of the dataset that holds the truth.")
    samples: SampleCount = Field("all", description="How many rows, a seeded sample, or `all`.")
    loss: Loss = Field("sparse_categorical_crossentropy", description="What is minimized, by Adam.")
    from_logits: Annotated[bool | Literal["auto"], or_words("true or false", "auto")] = Field(
        "auto", description="Of a cross-entropy; auto: unless the first answers are all probabilities."
    )
    epochs: PositiveInt = Field(2, description="Of each technique.")
    batch_size: PositiveInt = Field(32, description="Samples of one step.")
    learning_rate: PositiveFloat = Field(1e-4, description="Of Adam; much below that of the first training.")
    validation: Validation | None = Field(None, description="Without it, every epoch is run and the last is kept.")
    pruning: Pruning | None = Field(None, description="Of the technique prune.")
    clustering: Clustering | None = Field(None, description="Of the technique cluster.")
    skip_layers: Annotated[tuple[str, ...], AsTuple] = Field(
        (), description="Names of layers, or globs, that no technique touches; the converter still may quantize them."
    )
    seed: NonNegativeInt = Field(0, description="Of the order of the samples and all other chance.")

    @field_validator("techniques")
    @classmethod
    def _each_once(cls, value: tuple[Technique, ...]) -> tuple[Technique, ...]:
        if not value:
            raise ValueError(f"should list at least one of {', '.join(TECHNIQUES)}")
        if len(set(value)) < len(value):
            raise ValueError("lists a technique twice")
        return tuple(technique for technique in TECHNIQUES if technique in value)

    def model_post_init(self, _: Any) -> None:
        if "prune" in self.techniques and self.pruning is None:
            self.__dict__["pruning"] = Pruning()
        if "cluster" in self.techniques and self.clustering is None:
            self.__dict__["clustering"] = Clustering()


def conflicts(data: dict[str, Any], variants: dict[Location, dict[str, Any]]) -> Iterator[tuple[Location, str]]:
    """Where the section and the variants do not go together, told of the recipe as it was read."""
    given = data.get("training")
    section = given if isinstance(given, dict) else {}
    listed = section.get("techniques")
    techniques: set[str] = set(map(str, listed)) if isinstance(listed, list) else set()
    if not techniques or techniques - {*TECHNIQUES}:  # which is told apart
        techniques = {*TECHNIQUES}
    for key, technique in (("pruning", "prune"), ("clustering", "cluster")):
        if section.get(key) is not None and technique not in techniques:
            yield ("training", key), f"has no effect unless training.techniques has {technique}"
    for location, variant in variants.items():
        yield from (((*location, key), said) for key, said in _ignored(variant))
        if missing := _missing(variant, techniques if section else None):
            yield location, missing


def _ignored(variant: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if variant.get("mode") in LEARNED:
        for key in QatInt8.ignored:
            if key in variant and not asks_for_nothing(key, variant[key]):
                yield key, f"does not apply to {variant['mode']}, whose scales come out of training"


def _missing(variant: dict[str, Any], techniques: set[str] | None) -> str | None:
    """What keeps the variant from being made; None where nothing does. No techniques: there is no training."""
    mode = variant.get("mode")
    if mode in LEARNED and techniques is None:
        return f"{mode} comes out of training: give training with the technique quantize"
    if mode in LEARNED and techniques is not None and "quantize" not in techniques:
        return f"{mode} comes out of quantization-aware training: add quantize to training.techniques"
    if mode in LEARNED or variant.get("trained") is not True:
        return None
    if techniques is None:
        return "trained: true takes the model that training left: give training with prune or cluster"
    if not techniques & {"prune", "cluster"}:
        return (
            "trained: true takes the model as pruning or clustering left it, and training.techniques has neither;"
            " what quantization-aware training makes are the modes qat_int8 and qat_int8_only"
        )
    return None
