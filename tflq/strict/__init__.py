"""YAML to a strict, frozen pydantic model. All errors are reported at once, as `file:line: key: message`."""

from tflq.strict.fields import AsTuple, FileName, FunctionName, FunctionOfFolder, RecipePath
from tflq.strict.model import Strict, or_words
from tflq.strict.source import Location, PlacedText, YamlSource, override, parse, read, write
from tflq.strict.validation import validate
from tflq.strict.words import did_you_mean, shown

__all__ = [
    "AsTuple",
    "FileName",
    "FunctionName",
    "FunctionOfFolder",
    "Location",
    "PlacedText",
    "RecipePath",
    "Strict",
    "YamlSource",
    "did_you_mean",
    "or_words",
    "override",
    "parse",
    "read",
    "shown",
    "validate",
    "write",
]
