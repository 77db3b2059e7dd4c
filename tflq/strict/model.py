"""The base class of all sections of a recipe. Its errors are in plain words."""

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
    """A frozen model that refuses unknown keys and does not convert types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    homes: ClassVar[Mapping[str, str]] = {}
    """Maps keys that are often given here by mistake to the section where they belong."""

    @model_validator(mode="wrap")
    @classmethod
    def _tell_in_words(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            faults = [in_words(fault, cls.model_fields, cls.homes) for fault in error.errors()]
            raise ValidationError.from_exception_data(cls.__name__, faults) from None


def or_words(what: str, *words: str) -> WrapValidator:
    """Validate a union of some type with fixed words. A wrong value gives one error that names all choices."""

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
