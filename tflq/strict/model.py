"""The base of all models of a recipe, whose errors are told in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from typing_extensions import Self

from tflq.strict.words import FAULT, did_you_mean, in_words, shown


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and coerces nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    homes: ClassVar[Mapping[str, str]] = {}
    """Keys that are looked for here by mistake, and where they belong."""

    @model_validator(mode="wrap")
    @classmethod
    def _tell_in_words(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            faults = [in_words(fault, cls.model_fields, cls.homes) for fault in error.errors()]
            raise ValidationError.from_exception_data(cls.__name__, faults) from None


def or_words(what: str, *words: str) -> WrapValidator:
    """For a union of something with words: one fault that names all choices, where a value is none of them."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            inside = [in_words(fault, (), {}) for fault in error.errors() if fault["type"] == FAULT]
            if isinstance(value, dict) and inside:
                raise ValidationError.from_exception_data(error.title, inside) from None
            hint = did_you_mean(value, words) if isinstance(value, str) else ""
            raise ValueError(f"should be {', '.join(words)} or {what}, not {shown(value)}{hint}") from None

    return WrapValidator(check)
