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

from tflq.strict.words import IN_PLAIN_WORDS, did_you_mean, in_words, shown

MAX_HINTS = 50
"""The number of errors of one section for which a similar key is looked for, which takes time."""


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and does not convert types."""

    # most commands use a few of the models, and building all of them takes time: hence defer_build
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)

    sections: ClassVar[Mapping[str, str]] = {}
    """Maps each key that is often given here by mistake to the section that it belongs to."""

    @model_validator(mode="wrap")
    @classmethod
    def _use_plain_words(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            errors = [
                in_words(item, cls.model_fields if i < MAX_HINTS else (), cls.sections)
                for i, item in enumerate(error.errors())
            ]
            raise ValidationError.from_exception_data(cls.__name__, errors) from None


def or_words(what: str, *words: str) -> WrapValidator:
    """Return a validator of a union of a type and fixed words. A wrong value gives one error that names all choices."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            errors = [in_words(item, (), {}) for item in error.errors() if item["type"] == IN_PLAIN_WORDS]
            if isinstance(value, dict) and errors:
                raise ValidationError.from_exception_data(error.title, errors) from None
            hint = did_you_mean(value, words) if isinstance(value, str) else ""
            raise ValueError(f"should be {', '.join(words)} or {what}, not {shown(value)}{hint}") from None

    return WrapValidator(check)
