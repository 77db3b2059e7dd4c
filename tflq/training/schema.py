"""The recipe's section `training`, and the checks that it fits the variants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from tflq.calibrate.schema import SampleCount
from tflq.datasets import Dataset
from tflq.modes import QAT_MODES, QatInt8, is_neutral
from tflq.strict import AsTuple, Location, Strict, or_words

Technique = Literal["prune", "cluster", "quantize"]
TECHNIQUES: tuple[Technique, ...] = ("prune", "cluster", "quantize")
"""The techniques in the order in which they run. Each keeps the result of those before it."""
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
    """Pruning: the smallest weights of each layer are set to zero and stay zero."""

    target_sparsity: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="Share of weights that are zero at the end."
    )
    schedule: Literal["polynomial", "constant"] = Field(
        "polynomial",
        description="`polynomial`: reach the target over the first half of the steps. `constant`: from the start.",
    )
    block_size: Annotated[tuple[PositiveInt, PositiveInt], AsTuple] = Field(
        (1, 1),
        description="Zeros come in blocks of `[inputs, outputs]` of dense kernels. Sparse files store `[4, 1]` best.",
    )
    block_pooling: Literal["average", "max"] = Field(
        "average", description="The magnitude of a block: the average or the largest one of its weights."
    )
    m_by_n: Annotated[tuple[PositiveInt, PositiveInt] | None, AsTuple] = Field(
        None,
        description="`[2, 4]`: the 2 smallest of every 4 weights along the inputs become zero. It replaces"
        " `target_sparsity`, `schedule` and `block_size`.",
    )
    policy: Literal["all", "xnnpack"] = Field(
        "all",
        description="`xnnpack`: prune only 1×1 convolutions, and only in models that XNNPACK's sparse kernels can run.",
    )

    @property
    def share(self) -> float:
        """The share of weights that are zero at the end."""
        return self.target_sparsity if self.m_by_n is None else self.m_by_n[0] / self.m_by_n[1]

    @field_validator("m_by_n")
    @classmethod
    def _leaves_weights(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError("the first number, of zeros, should be below the second, of weights")
        return value


class Clustering(Strict):
    """Clustering: the weights of each layer share a few values."""

    clusters: Annotated[int, Field(ge=3)] = Field(16, description="Number of different values per layer.")


class Validation(Strict):
    """Samples that decide when training stops and which epoch is best. Do not use the evaluation samples."""

    dataset: Dataset
    samples: SampleCount = Field("all", description="Number of rows of a seeded random sample, or `all`.")
    patience: PositiveInt = Field(
        PATIENCE, description="A technique stops after so many epochs without a lower loss. Its best epoch is kept."
    )


class Training(Strict):
    """Fine-tuning with TensorFlow Model Optimization, for variants of the trained model."""

    techniques: Annotated[tuple[Technique, ...], AsTuple] = Field(
        description="Any of prune, cluster and quantize. They run in this order, each for all `epochs`."
    )
    dataset: Dataset
    label: str = Field(description="The column of the dataset that holds the label.")
    samples: SampleCount = Field("all", description="Number of rows of a seeded random sample, or `all`.")
    loss: Loss = Field("sparse_categorical_crossentropy", description="Loss function, minimized by Adam.")
    from_logits: Annotated[bool | Literal["auto"], or_words("true or false", "auto")] = Field(
        "auto",
        description="Whether a cross-entropy gets logits. `auto`: yes, unless the first outputs are probabilities.",
    )
    epochs: PositiveInt = Field(2, description="Epochs of each technique.")
    batch_size: PositiveInt = Field(32, description="Samples per step.")
    learning_rate: PositiveFloat = Field(
        1e-4, description="Learning rate of Adam. Use much less than in the first training."
    )
    validation: Validation | None = Field(
        None, description="Validation. Without it, every epoch runs and the last is kept."
    )
    pruning: Pruning | None = Field(None, description="Options of the technique prune.")
    clustering: Clustering | None = Field(None, description="Options of the technique cluster.")
    skip_layers: Annotated[tuple[str, ...], AsTuple] = Field(
        (), description="Names or patterns of layers that are not trained. The converter may still quantize them."
    )
    seed: NonNegativeInt = Field(0, description="Seed of the sample order and of all other random numbers.")

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


def training_conflicts(
    data: dict[str, Any], variants: dict[Location, dict[str, Any]]
) -> Iterator[tuple[Location, str]]:
    """Yield errors if the section and the variants do not fit. `data` is the recipe as it was read."""
    training = data.get("training")
    section = training if isinstance(training, dict) else {}
    value = section.get("techniques")
    techniques: set[str] = set(map(str, value)) if isinstance(value, list) else set()
    if not techniques or techniques - {*TECHNIQUES}:  # validation reports this separately
        techniques = {*TECHNIQUES}
    for key, technique in (("pruning", "prune"), ("clustering", "cluster")):
        if section.get(key) is not None and technique not in techniques:
            yield ("training", key), f"has no effect unless training.techniques has {technique}"
    yield from _conflicts_of_pruning(section.get("pruning"))
    for location, variant in variants.items():
        yield from (((*location, key), message) for key, message in _ignored(variant))
        if missing := _missing(variant, techniques if section else None):
            yield location, missing


def _conflicts_of_pruning(section: Any) -> Iterator[tuple[Location, str]]:
    """Yield an error for each key, other than at its default, that decides what m_by_n decides."""
    if isinstance(section, dict) and section.get("m_by_n") is not None:
        defaults = Pruning().model_dump(mode="json", exclude={"m_by_n", "policy"})
        for key in sorted(key for key, default in defaults.items() if section.get(key, default) != default):
            yield ("training", "pruning", key), "has no effect with m_by_n, which decides it: remove one of them"


def _ignored(variant: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if variant.get("mode") in QAT_MODES:
        for key in QatInt8.ignored:
            if key in variant and not is_neutral(key, variant[key]):
                yield key, f"has no effect in {variant['mode']}, whose ranges come from training: remove it"


def _missing(variant: dict[str, Any], techniques: set[str] | None) -> str | None:
    """Return what the variant lacks, or None. `techniques` is None if the recipe has no training."""
    mode = variant.get("mode")
    if mode in QAT_MODES and techniques is None:
        return f"{mode} needs training: add training with the technique quantize"
    if mode in QAT_MODES and techniques is not None and "quantize" not in techniques:
        return f"{mode} needs quantization-aware training: add quantize to training.techniques"
    if mode in QAT_MODES or variant.get("trained") is not True:
        return None
    if techniques is None:
        return "trained: true needs training: add training with the technique prune or cluster"
    if not techniques & {"prune", "cluster"}:
        return (
            "trained: true uses the pruned or clustered model, but training.techniques has neither prune nor cluster."
            " For quantization-aware training, use the modes qat_int8 and qat_int8_only"
        )
    return None
