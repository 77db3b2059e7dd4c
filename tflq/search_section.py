"""The section `search` of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tflq.strict import AsTuple, Strict

OpKey = Literal["keep_float", "keep_int16"]
"""A key that names single ops which a search may compute with other activations."""


class SearchSection(Strict):
    """The keys that `tflq search` may change."""

    allow: Annotated[tuple[OpKey, ...], AsTuple] = Field(
        ("keep_float",),
        description="Ways to compute single ops: in float (`keep_float`), or with 16-bit activations (`keep_int16`). In"
        " `int8_only`, only the second is possible.",
    )
