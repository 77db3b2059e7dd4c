"""SavedModels, and the keys that all kinds of float model share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from tflq.errors import SourceError
from tflq.inputs.schema import Input
from tflq.strict import AsTuple, RecipePath, Strict, or_words

GRAPH_FILES = ("saved_model.pb", "saved_model.pbtxt")
"""A SavedModel folder has one of these."""

BatchSize = Annotated[
    PositiveInt | Literal["dynamic"],
    or_words("a whole number above 0", "dynamic"),
    Field(description="Samples per call. `dynamic` leaves the batch dimension open."),
]

Outputs = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], AsTuple, Field(min_length=1)]
OUTPUTS = Field(
    None,
    description="Tensors at which the model ends, by their names in `tflq ops`, such as those before NMS. Default: the"
    " outputs of the signature.",
)


class SavedModel(Strict):
    """A SavedModel folder."""

    saved_model: RecipePath = Field(description="The folder that contains saved_model.pb.")
    signature: str = Field("serving_default", description="The signature to convert.")
    tags: Annotated[tuple[str, ...], AsTuple] = Field(
        ("serve",), description="Tags of the graph to load, if there are several graphs."
    )
    batch_size: BatchSize = 1
    outputs: Outputs | None = OUTPUTS

    @property
    def path(self) -> Path:
        return self.saved_model

    def check(self) -> None:
        """Raise SourceError if there is certainly no such model. This does not import TensorFlow."""
        if not self.path.exists():
            raise SourceError(f"{self.path}: there is no such folder")
        if not any((self.path / name).is_file() for name in GRAPH_FILES):
            raise SourceError(f"{self.path}: is not a SavedModel: it has no saved_model.pb")

    def saved(self, _folder: Path, _inputs: Mapping[str, Input]) -> tuple[SavedModel, tuple[str, ...]]:
        """Return the model, which is already a SavedModel, and no notes."""
        return self, ()
