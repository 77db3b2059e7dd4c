"""Read YAML text as plain data. Whatever the text holds, the answer is data or one clear RecipeError."""

from __future__ import annotations

import copy
import sys
from functools import lru_cache
from pathlib import Path

import yaml

from tflq.errors import RecipeError, printable_line
from tflq.special_files import refuse_special
from tflq.strict.nodes import NodeReader
from tflq.strict.scalars import RecipeLoader
from tflq.strict.source import YamlSource

MAX_BYTES = 2**20
"""The largest size of a YAML file. Recipes have a few kilobytes."""
STANDARD_INPUT = Path("-")
"""The path that names standard input, in the command line."""
REMEDIES = {
    "mapping values are not allowed": "check the indentation, and put text with a colon and a space in quotes",
    r"character '\t'": "indent with spaces, not tabs",
    "expected alphabetic or numeric": "put text that begins with * or & in quotes",
    "undefined alias": "put text that begins with * in quotes",
    "found another document": "only one is read: remove the --- line",
    "end of stream": "a quote is not closed",
    "but got ':'": "check that brackets are closed, and put text with a colon and a space in quotes",
    "'<stream end>'": "a bracket is not closed",
}
"""Part of a message of PyYAML → what the user can do."""


def read(path: Path) -> YamlSource:
    """Read the YAML file, or standard input if the path is `-`. Raise RecipeError if it cannot be read."""
    name = "standard input" if path == STANDARD_INPUT else printable_line(str(path))
    try:
        content = _content(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name has a character that no file can have"
        raise RecipeError(f"{name}: cannot be read: {reason}") from error
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{name}: this is too large for a recipe, which has at most {MAX_BYTES:,} bytes")
    try:
        return parse(content.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise RecipeError(f"{name}: is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _content(path: Path) -> bytes:
    """Return at most one byte more than a recipe may have."""
    if path == STANDARD_INPUT:
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    refuse_special(path)
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def parse(text: str, name: str, has_lines: bool = True) -> YamlSource:
    """Parse the YAML text. Messages call it by `name`. Raise RecipeError if it is not YAML."""
    return copy.deepcopy(_parsed(text, name, has_lines))


@lru_cache(maxsize=16)
def _parsed(text: str, name: str, has_lines: bool) -> YamlSource:
    """Return the same, which nobody may change. A file that many recipes extend is parsed once."""
    source = YamlSource(name, has_lines=has_lines)
    loader = None
    try:
        loader = RecipeLoader(text)
        root = loader.get_single_node()
        source.data = NodeReader(loader, source).plain(root, ()) if root else None
    except yaml.MarkedYAMLError as error:
        raise RecipeError(_yaml_error(source, error)) from error
    except yaml.reader.ReaderError as error:
        raise RecipeError(_character_error(source, text, error)) from error
    except (ValueError, OverflowError) as error:  # an escape such as "\U00110000" that is no character
        place = source.place(loader.get_mark() if loader else None)
        raise RecipeError(f"{place}: this is not YAML: an escape (\\U) is no character") from error
    except RecursionError as error:
        raise RecipeError(f"{name}: this is nested too deeply") from error
    return source


def _character_error(source: YamlSource, text: str, error: yaml.reader.ReaderError) -> str:
    """Return where the character is that YAML does not allow. The position counts from the start of the text."""
    line = text.count("\n", 0, error.position)
    place = source.place(yaml.Mark(source.name, error.position, line, 0, None, 0))
    return f"{place}: this is not YAML: the character U+{ord(text[error.position]):04X} is not allowed"


def _yaml_error(source: YamlSource, error: yaml.MarkedYAMLError) -> str:
    problem, mark, opened = str(error.problem), error.problem_mark, error.context_mark
    since = (
        f", in the part that starts on line {opened.line + 1}" if opened and mark and opened.line != mark.line else ""
    )
    remedy = next((f"; {remedy}" for part, remedy in REMEDIES.items() if part in problem), "")
    return f"{source.place(mark)}: this is not YAML: {problem.removeprefix('but ')}{since}{remedy}"
