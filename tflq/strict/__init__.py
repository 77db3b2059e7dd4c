"""YAML to a strict, frozen pydantic model. All errors are reported at once, as `file:line: key: message`."""

from tflq.strict.fields import AsTuple, FileName, FunctionName, FunctionOfFolder, RecipePath
from tflq.strict.model import Strict, or_words
from tflq.strict.override import override
from tflq.strict.paths import path_in
from tflq.strict.reader import STANDARD_INPUT, parse, read
from tflq.strict.scalars import write
from tflq.strict.source import Location, PlacedText, YamlSource
from tflq.strict.validation import validate
from tflq.strict.words import did_you_mean, most_similar, shown

__all__ = [
    "STANDARD_INPUT",
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
    "most_similar",
    "or_words",
    "override",
    "parse",
    "path_in",
    "read",
    "shown",
    "validate",
    "write",
]
