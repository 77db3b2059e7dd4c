"""Validation errors in plain words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

FAULT = "fault"
"""The type of an error whose message is in plain words already."""
MISSING = "this key is missing"
LONGEST = 60
"""Number of characters of a value that are shown."""

PLAIN = {
    r"a valid dictionary( or instance of \w+)?": "a mapping of keys to values",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid (tuple|list)": "a list",
    "an instance of Path": "a path",
    " after validation": "",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
}


def in_words(fault: ErrorDetails, keys: Iterable[str], homes: Mapping[str, str]) -> InitErrorDetails:
    """Return the error in plain words. `keys` are the model's keys; `homes` maps other keys to their section."""
    text = _text(fault, keys, homes)
    custom = PydanticCustomError(FAULT, "{text}", {"text": text})
    return InitErrorDetails(type=custom, loc=fault["loc"], input=fault["input"])


def _text(fault: ErrorDetails, keys: Iterable[str], homes: Mapping[str, str]) -> str:
    said, value = fault["msg"], fault["input"]
    match fault["type"]:
        case "extra_forbidden":
            key = str(fault["loc"][-1])
            return f"unknown key here; it belongs in {homes[key]}" if key in homes else _unknown(key, keys)
        case "missing":
            return MISSING
        case "literal_error":
            return _not_among(value, re.findall(r"'([^']*)'", fault["ctx"]["expected"]))
        case "string_type" if isinstance(value, (bool, int, float)):
            return f"should be text, not {shown(value)}; put it in quotes"
        case "tuple_type" if isinstance(value, str):
            return f"should be a list, not {shown(value)}; put it in brackets"
    subject, should, rest = said.partition(" should ")
    if not should or fault["type"] in (FAULT, "value_error"):
        return said.removeprefix("Value error, ")
    return _plain(f"should {rest}") + (f", not {shown(value)}" if subject == "Input" else "")


def _unknown(key: str, keys: Iterable[str]) -> str:
    return f"unknown key{did_you_mean(key, keys)}"


def _not_among(value: Any, choices: list[str]) -> str:
    if len(choices) == 1:
        return f"should be {choices[0]}, not {shown(value)}"
    if not isinstance(value, str):
        return f"should be one of {', '.join(choices)}, not {shown(value)}"
    return f"{value!r} is not one of {', '.join(choices)}{did_you_mean(value, choices)}"


def _plain(text: str) -> str:
    for said, plain in PLAIN.items():
        text = re.sub(said, plain, text)
    return text


def shown(value: object) -> str:
    """Return the value as YAML shows it, or its kind if it is a mapping, a list or nothing."""
    if value is None:
        return "nothing"
    if isinstance(value, (dict, list, tuple)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` with the most similar word, or an empty text if none is similar."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
