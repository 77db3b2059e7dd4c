"""YAML to a strict, frozen pydantic model; every fault at once, as `file:line: key: message`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PlainSerializer,
    SerializationInfo,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from typing_extensions import Self

from tflq.errors import RecipeError
from tflq.strict.source import Location, PlacedText, Source, override, parse, read, write
from tflq.strict.words import FAULT, did_you_mean, in_words, shown

__all__ = [
    "AsTuple",
    "FileName",
    "FunctionName",
    "FunctionOfFolder",
    "Location",
    "PlacedText",
    "RecipePath",
    "Source",
    "Strict",
    "did_you_mean",
    "or_words",
    "override",
    "parse",
    "read",
    "shown",
    "validate",
    "write",
]


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


def _from_folder(value: Any, info: ValidationInfo) -> Any:
    folder = value.folder if isinstance(value, PlacedText) else (info.context or {}).get("folder")
    if isinstance(value, str) and not value:
        raise ValueError("this path is empty")
    if isinstance(value, (str, Path)) and folder is not None:
        return Path(os.path.normpath(Path(folder) / Path(value).expanduser()))
    return Path(value) if isinstance(value, str) else value


def _to_folder(path: Path, info: SerializationInfo) -> str:
    folder = (info.context or {}).get("folder")
    return os.path.relpath(path, folder) if folder else str(path)


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


FILE_NAME = r"^\w[\w.-]*$"
FUNCTION_NAME = r"^\w+(\.\w+)*:\w+$"


def _is_file_name(value: str) -> str:
    if not re.fullmatch(FILE_NAME, value):
        raise ValueError(
            f"{value!r} cannot be part of a file's name: use letters, digits, _, - and ., not - or . first"
        )
    return value


def _names_a_function(value: str) -> str:
    module, _, function = value.partition(":")
    if not all(name.isidentifier() for name in [*module.split("."), function]):
        raise ValueError(f"{value!r} should read module:function, such as mypackage.data:rows")
    return value


RecipePath = Annotated[Path, BeforeValidator(_from_folder), PlainSerializer(_to_folder)]
"""A path, taken from the folder of the file that names it, and written as seen from the folder of the context."""
FileName = Annotated[str, AfterValidator(_is_file_name), WithJsonSchema({"type": "string", "pattern": FILE_NAME})]
"""A word that files are named by."""
FunctionName = Annotated[
    str, AfterValidator(_names_a_function), WithJsonSchema({"type": "string", "pattern": FUNCTION_NAME})
]
"""A function of an importable module, as `module:function`."""
AsTuple = BeforeValidator(_to_tuple)
"""Marks a tuple field, which YAML writes as a list."""


class FunctionOfFolder(Strict):
    """A kind with the keys `python` and `folder`: a module is found beside the file that names it."""

    @model_validator(mode="before")
    @classmethod
    def _beside_its_file(cls, data: Any) -> Any:
        named = data.get("python") if isinstance(data, dict) else None
        if isinstance(named, PlacedText) and "folder" not in data:
            return {**data, "folder": PlacedText(".", named.folder)}
        return data


M = TypeVar("M", bound=Strict)


def validate(source: Source, model: type[M], folder: Path) -> M:
    """The model that the source describes, its paths taken from the folder; RecipeError with every fault."""
    faults = list(source.faults)
    if not isinstance(source.data, dict):
        what = "this is empty" if source.data is None else f"this is {shown(source.data)}"
        where = source.places.get((), source.name)
        message = f"{where}: {what}; it should hold a mapping, one `key: value` a line, with a space after the colon"
        raise RecipeError("\n".join([*faults, message]))
    try:
        value = model.model_validate(source.data, context={"folder": folder})
    except ValidationError as error:
        faults += [source.fault(tuple(fault["loc"]), fault["msg"]) for fault in error.errors()]
    if faults:
        raise RecipeError("\n".join(sorted(dict.fromkeys(faults), key=_line)))
    return value


def _line(fault: str) -> int:
    found = re.search(r":(\d+): ", fault)
    return int(found.group(1)) if found else 0
