"""Mutations of a text or of bytes, drawn from a seeded generator. They imitate slips of people and damaged files."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

VALUES = (
    *("", "~", "null", "on", "true", "-1", "0", "1", "1e400", ".inf", ".nan", "0x10", "1_000", "12:30", "2026-01-01"),
    *(
        "99999999999999999999999999",
        "[]",
        "{}",
        "[[[]]]",
        "{a: {b: c}}",
        "[int8, int8]",
        "- int8",
        "!!python/name:os",
        "*a",
    ),
    *(
        "&a [*a]",
        "&a {b: *a}",
        "<<",
        '"\\0"',
        '"\\uD800"',
        '"\\U00110000"',
        '"\\e[31mred"',
        '"\\u202Egnp"',
        "'",
        '"',
        "~nobody_there/x",
    ),
    *(
        "/proc/self/mem",
        "/dev/zero",
        "/dev/null",
        "..",
        "/",
        "-",
        "<script>alert(1)</script>",
        "a|b",
        "x" * 300,
        "y/" * 200,
    ),
    *(
        "naïve",
        "模型",
        "a\tb",
        "a # b",
        "%YAML 1.1",
        "|",
        ">",
        "? x",
        "@x",
        "`x`",
        "int8",
        "headroom",
        "1.5",
        "-0.0",
        "1e-400",
    ),
)
"""Values that a person or a program may write where another is expected."""

KEYS = (
    "x",
    "<<",
    "mode",
    "name",
    "kind",
    "extends",
    "model",
    "variants",
    "Mode",
    "mode ",
    "0",
    "null",
    "on",
    "\x7f",
    "a.b",
    "é",
    "k" * 500,
)
CHARACTERS = "\0\x07\x1b\x7f\x85\u2028\ufeff\ufffe\t\r:-#&*!|>'\"%@`{}[],?"
LINE = re.compile(r"(?P<indent>[ -]*)(?P<key>[\w.]+):(?P<value>.*)")

Mutation = Callable[[str, random.Random], str]


def mutated(text: str, draw: random.Random) -> str:
    """Return the text after one to four mutations."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 4))):
        text = draw.choice(MUTATIONS)(text, draw)
    return text


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return the bytes with some bits flipped, a part cut out, zeroed, or repeated, or the end cut off."""
    changed = bytearray(content)
    start = draw.randrange(len(content) + 1)
    end = min(start + draw.choice((1, 4, 64, 4096)), len(content))
    match draw.randrange(5):
        case 0:
            del changed[start:]
        case 1:
            del changed[start:end]
        case 2:
            changed[start:end] = bytes(end - start)
        case 3:
            changed[start:start] = changed[start:end]
        case _:
            for _ in range(draw.choice((1, 8, 64)) if content else 0):
                changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _value(text: str, draw: random.Random) -> str:
    return _changed_line(text, draw, lambda line: f"{line['indent']}{line['key']}: {draw.choice(VALUES)}")


def _key(text: str, draw: random.Random) -> str:
    return _changed_line(text, draw, lambda line: f"{line['indent']}{draw.choice(KEYS)}:{line['value']}")


def _typo(text: str, draw: random.Random) -> str:
    def change(line: re.Match[str]) -> str:
        key = line["key"]
        place = draw.randrange(len(key))
        return (
            f"{line['indent']}{key[:place]}{draw.choice(('', key[place] * 2, 'z'))}{key[place + 1 :]}:{line['value']}"
        )

    return _changed_line(text, draw, change)


def _changed_line(text: str, draw: random.Random, change: Callable[[re.Match[str]], str]) -> str:
    lines = text.split("\n")
    places = [place for place, line in enumerate(lines) if LINE.fullmatch(line)]
    if places:
        place = draw.choice(places)
        match = LINE.fullmatch(lines[place])
        lines[place] = change(match) if match else lines[place]
    return "\n".join(lines)


def _line(text: str, draw: random.Random) -> str:
    """Delete, repeat, move, indent or outdent a line."""
    lines = text.split("\n")
    place = draw.randrange(len(lines))
    line = lines[place]
    match draw.randrange(5):
        case 0:
            del lines[place]
        case 1:
            lines.insert(place, line)
        case 2:
            lines.insert(draw.randrange(len(lines)), lines.pop(place))
        case 3:
            lines[place] = draw.choice((" ", "  ", "\t", "- ")) + line
        case _:
            lines[place] = line[1:]
    return "\n".join(lines)


def _new_line(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    indent = " " * draw.choice((0, 0, 2, 4))
    lines.insert(draw.randrange(len(lines) + 1), f"{indent}{draw.choice(KEYS)}: {draw.choice(VALUES)}")
    return "\n".join(lines)


def _character(text: str, draw: random.Random) -> str:
    place = draw.randrange(len(text) + 1)
    return text[:place] + draw.choice(CHARACTERS) + text[place + draw.randrange(2) :]


def _cut(text: str, draw: random.Random) -> str:
    return text[: draw.randrange(len(text) + 1)]


def _many(text: str, draw: random.Random) -> str:
    """Add very many keys, nested brackets, aliases of aliases, or merge keys."""
    match draw.randrange(5):
        case 0:
            return text + "\n" + "\n".join(f"unknown{i}: {i}" for i in range(3000))
        case 1:
            return text + "\nx: " + "[" * 2000 + "]" * draw.choice((0, 2000))
        case 2:
            levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
            return f"a0: &a0 [x]\n{levels}{text}"
        case 3:
            return text + "\n<<: [{mode: int8}, {mode: int16x8}]"
        case _:
            return text + "\nvariants:\n" + "".join(f"- {{mode: int8, name: v{i}}}\n" for i in range(2000))


MUTATIONS: tuple[Mutation, ...] = (_value, _value, _value, _key, _typo, _line, _new_line, _character, _cut, _many)
