"""Validation errors in plain words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

IN_PLAIN_WORDS = "in_plain_words"
"""The type of an error whose message is already in plain words."""
MISSING = "this key is missing"
MAX_LENGTH = 60
"""Messages show at most this number of characters of a value."""

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
"""Pattern in a message of pydantic → plain words."""


def in_words(error: ErrorDetails, keys: Iterable[str], sections: Mapping[str, str]) -> InitErrorDetails:
    """Return the error in plain words. `keys` are the model's keys; `sections` maps other keys to their section."""
    text = _text(error, keys, sections)
    custom = PydanticCustomError(IN_PLAIN_WORDS, "{text}", {"text": text})
    return InitErrorDetails(type=custom, loc=error["loc"], input=error["input"])


def _text(error: ErrorDetails, keys: Iterable[str], sections: Mapping[str, str]) -> str:
    message, value = error["msg"], error["input"]
    match error["type"]:
        case "extra_forbidden":
            key = str(error["loc"][-1])
            return f"unknown key here; it belongs in {sections[key]}" if key in sections else _unknown(key, keys)
        case "missing":
            return MISSING
        case "literal_error":
            return _not_among(value, re.findall(r"'([^']*)'", error["ctx"]["expected"]))
        case "string_type" if isinstance(value, (bool, int, float)):
            return f"should be text, not {shown(value)}; put it in quotes"
        case "tuple_type" if isinstance(value, str):
            return f"should be a list, not {shown(value)}; put it in brackets"
    subject, should, rest = message.partition(" should ")
    if not should or error["type"] in (IN_PLAIN_WORDS, "value_error"):
        return message.removeprefix("Value error, ")
    return _plain(f"should {rest}") + (f", not {shown(value)}" if subject == "Input" else "")


def _unknown(key: str, keys: Iterable[str]) -> str:
    return f"unknown key{did_you_mean(key, keys)}"


def _not_among(value: Any, choices: list[str]) -> str:
    if len(choices) == 1:
        return f"should be {choices[0]}, not {shown(value)}"
    if not isinstance(value, str):
        return f"should be one of {', '.join(choices)}, not {shown(value)}"
    return f"{shown(value)} is not one of {', '.join(choices)}{did_you_mean(value, choices)}"


def _plain(text: str) -> str:
    for pattern, plain in PLAIN.items():
        text = re.sub(pattern, plain, text)
    return text


def shown(value: object) -> str:
    """Return the value as YAML shows it, or its kind if it is a mapping, a list or nothing."""
    if value is None:
        return "nothing"
    if isinstance(value, (dict, list, tuple)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` with the most similar word, or an empty text if none is similar."""
    match = most_similar(word, words)
    return f" (did you mean {match!r}?)" if match else ""


def most_similar(word: str, words: Iterable[str]) -> str | None:
    """Return the most similar word, or None if none is similar."""
    matches = difflib.get_close_matches(word, list(words), n=1) if len(word) <= MAX_LENGTH else []
    return matches[0] if matches else None
