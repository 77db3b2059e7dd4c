"""The scalars of YAML 1.2: the types that text without quotes is read as, and how text is written."""

from __future__ import annotations

import re
from typing import Any

import yaml

TAG = "tag:yaml.org,2002:"
NUMBER = "[0-9]+(?:_[0-9]+)*"
SCALARS = (
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", "true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", f"[-+]?{NUMBER}|0x[0-9a-fA-F]+|0o[0-7]+", list("-+0123456789")),
    (
        "float",
        rf"[-+]?(?:{NUMBER}(?:\.(?:{NUMBER})?)?|\.{NUMBER})(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", "<<", ["<"]),
)
"""The scalars of the YAML 1.2 core schema, with `_` between digits: tag, pattern, first characters."""
MAX_DEPTH = 50
"""The largest number of nesting levels. Apart from brackets, only an alias that contains itself exceeds it."""
MAX_DIGITS = 400
"""The largest number of digits of a whole number. Python refuses more than 4,300."""


class RecipeLoader(yaml.SafeLoader):
    """YAML 1.2 scalars: `on`, `off` and `12:30` are text, `1e-4` is a number, dates are text."""

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Begin a bracket. PyYAML takes time in proportion to the square of their depth, so it has a limit."""
        if self.flow_level >= MAX_DEPTH:
            problem = f"there are more than {MAX_DEPTH} brackets in brackets"
            raise yaml.scanner.ScannerError(None, None, problem, self.get_mark())
        super().fetch_flow_collection_start(token)


class RecipeDumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as another type."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def _integer(_: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    if len(node.value) > MAX_DIGITS:
        raise yaml.constructor.ConstructorError(None, None, "this number is too long", node.start_mark)
    return int(node.value, {"0x": 16, "0o": 8}.get(node.value[:2], 10))


def _float(_: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"\.(?=[in])", "", node.value.lower()))


def _text(_: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(node.value)


RecipeLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in SCALARS:
    for _kind in (RecipeLoader, RecipeDumper):
        _kind.add_implicit_resolver(TAG + _tag, re.compile(f"^(?:{_pattern})$"), _first)
RecipeLoader.add_constructor(TAG + "int", _integer)
RecipeLoader.add_constructor(TAG + "float", _float)
RecipeLoader.add_constructor(TAG + "merge", _text)


def write(data: Any) -> str:
    """Return the data as YAML text. Reading it gives the same data."""
    return yaml.dump(data, Dumper=RecipeDumper, sort_keys=False, allow_unicode=True, width=120)
