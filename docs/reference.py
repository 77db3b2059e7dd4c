"""docs/recipe.md, written from the JSON Schema of a recipe and from the modes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tflq import datasets
from tflq.modes import MODES, QAT_MODES, Converter
from tflq.recipe import json_schema
from tflq.sources.schema import KIND_CLASSES

Schema = dict[str, Any]
COLUMNS = ("key", "type", "default", "meaning")
KINDS = {kind.__name__: key for key, kind in KIND_CLASSES.items()}
DATASETS = {kind.__name__: key for kind, key in zip(datasets.DATASETS, datasets.KINDS, strict=True)}
SECTIONS = {
    "Input": "inputs",
    "Calibration": "calibration",
    "Evaluation": "evaluation",
    "Training": "training",
    "Latency": "latency",
    "Gates": "gates",
    "Artifacts": "artifacts",
    "Converter": "converter",
}
"""Definitions of the schema that have a heading of their own, besides the kinds."""
VARIANTS = {kind.__name__: str(kind.model_fields["mode"].default) for kind in MODES}
HEADINGS = {
    **SECTIONS,
    **dict.fromkeys(KINDS, "model"),
    **dict.fromkeys(DATASETS, "dataset"),
    **dict.fromkeys(VARIANTS, "variants"),
}
LINKS = {
    **{name: f"[{'dataset' if name in DATASETS else 'mapping'}](#{heading})" for name, heading in HEADINGS.items()},
    **dict.fromkeys(("Defaults", "Entry"), "[keys of a recipe](recipe.md#recipe)"),
}
"""How the type of a key names the definition of its value. Other definitions are shown below the key."""
SHARED = ("mode", "name", "trained", "inference_input_type", "inference_output_type")
"""Keys that every variant has besides the converter options."""
INTRODUCTION = """\
# Recipe reference

A recipe is a YAML file. The smallest one names a model and a mode:

```yaml
model: models/net.keras
mode: dynamic
```

`make docs` writes this page from the JSON Schema that `tflq schema` prints. Unknown keys, repeated keys and values of
a wrong type are errors: the message gives file, line and the nearest spelling. Paths are relative to the folder of the
recipe."""
INPUTS = """\
`inputs` maps the name of each model input to a mapping with these keys. An input that is not listed has all
defaults."""
MODEL = "`model` is a path, or a mapping with the keys of one of these kinds."
DATASET = """\
`calibration`, `evaluation`, `training` and `training.validation` each have a `dataset`: a mapping with the keys of one
of these kinds."""
VARIANT = (
    "An entry of `variants` is a mode, or a mapping with these keys and any of the [converter](#converter) options."
)
CONVERTER = """\
These options stand under `converter` for all variants, or in an entry of `variants` for that one.

[explanation.md](explanation.md) says how bias correction, rounding, equalization and headroom work."""
MATRIX = """\
– means that the option has no effect in this mode. Under `converter` it is ignored; in an entry of `variants` it is an
error. The first type in a list is the default. Converter options that are not listed have an effect in every mode."""


def page() -> str:
    """Return the text of docs/recipe.md."""
    schema = json.loads(json_schema())
    parts = [INTRODUCTION, "## Recipe", *section(schema, schema)]
    parts += ["## `model`", MODEL, *_kinds(schema, KINDS)]
    parts += ["## `inputs`", INPUTS, *_named(schema, "Input")]
    parts += ["## `dataset`", DATASET, *_kinds(schema, DATASETS)]
    for name in ("Calibration", "Evaluation", "Training", "Latency", "Gates", "Artifacts"):
        parts += [f"## `{HEADINGS[name]}`", *_named(schema, name)]
    parts += ["## `variants`", VARIANT, table(COLUMNS, _shared(schema))]
    parts += ["### Modes", table(("mode", "files"), [(f"`{mode}`", _doc(kind)) for mode, kind in _modes()])]
    parts += ["## `converter`", CONVERTER, *_named(schema, "Converter", described=False)]
    parts += ["## Options by mode", MATRIX, matrix(schema)]
    return "\n\n".join(parts) + "\n"


def _modes() -> Iterator[tuple[str, Any]]:
    return ((str(kind.model_fields["mode"].default), kind) for kind in MODES)


def _doc(kind: type) -> str:
    return cell(kind.__doc__ or "")


def _kinds(schema: Schema, kinds: dict[str, str]) -> Iterator[str]:
    """Yield the table of the kinds, and the table of all their keys; a row that kinds share is there once."""
    parts = {key: schema["$defs"][name] for name, key in kinds.items()}
    yield table(("kind", "meaning"), [(f"`{key}`", part["description"]) for key, part in parts.items()])
    shared: dict[tuple[str, ...], list[str]] = {}
    for key, part in parts.items():
        for row in _rows(part, schema, Place("", part["required"])):
            shared.setdefault(row, []).append(f"`{key}`")
    yield table(("kind", *COLUMNS), [(", ".join(keys), *row) for row, keys in shared.items()])


def _named(schema: Schema, name: str, described: bool = True) -> Iterator[str]:
    definition = schema["$defs"][name]
    return section(definition if described else {**definition, "description": ""}, schema)


def section(part: Schema, schema: Schema) -> Iterator[str]:
    """Yield the description of a part of the schema and the table of its keys."""
    if part.get("description"):
        yield part["description"]
    required = [*part.get("required", []), *part.get("anyOf", [{}])[0].get("required", [])]
    yield table(COLUMNS, _rows(part, schema, Place("", required)))


@dataclass(frozen=True)
class Place:
    """Where a table is in the recipe: the keys above it, and which of its keys are required."""

    prefix: str
    required: list[str]


def _rows(part: Schema, schema: Schema, place: Place) -> Iterator[tuple[str, ...]]:
    """The row of each key, followed by the keys of a mapping that has no heading of its own."""
    for key, field in part["properties"].items():
        inner = [name for name in _references(field) if name not in LINKS]
        about = [field.get("description", ""), *(schema["$defs"][name].get("description", "") for name in inner)]
        default = "**required**" if key in place.required else _default(field)
        yield f"`{place.prefix}{key}`", type_of(field), default, " ".join(dict.fromkeys(filter(None, about)))
        for name in inner:
            below = f"{place.prefix}{key}.{'<name>.' if 'additionalProperties' in field else ''}"
            required = schema["$defs"][name].get("required", [])
            yield from _rows(schema["$defs"][name], schema, Place(below, required))


def _shared(schema: Schema) -> Iterator[tuple[str, ...]]:
    """The rows of the keys that all variants share, without what differs from mode to mode."""
    fields = schema["$defs"]["Float32"]["properties"]
    kinds = {"mode": "[mode](#modes)", "inference_input_type": "by mode", "inference_output_type": "by mode"}
    for key in SHARED:
        default = "**required**" if key == "mode" else "" if key in kinds else _default(fields[key])
        meaning = fields[key].get("description", "The mode of the file.")
        yield f"`{key}`", kinds.get(key, type_of(fields[key])), default, meaning


def matrix(schema: Schema) -> str:
    """Which mode takes which option, from the modes and from what the schema refuses."""
    parts = {mode: schema["$defs"][kind.__name__]["properties"] for mode, kind in _modes()}
    kinds = dict(_modes())
    rows = [("calibration", *(calibration_of(kind) for kind in kinds.values()))]
    rows += [("training", *("needed" if mode in QAT_MODES else "if `trained`" for mode in kinds))]
    for side in ("inference_input_type", "inference_output_type"):
        rows.append((f"`{side}`", *(" ".join(parts[mode][side]["enum"]) for mode in kinds)))
    for key in [key for key in Converter.model_fields if any(key in kind.ignored for kind in kinds.values())]:
        rows.append((f"`{key}`", *("–" if key in kind.ignored else "yes" for kind in kinds.values())))
    return table(("", *(f"`{mode}`" for mode in kinds)), rows)


def calibration_of(kind: Any) -> str:
    """Whether the mode needs calibration samples."""
    if kind.needs_ranges:
        return "needed"
    return "–" if "bias_correction" in kind.ignored else "optional"


def table(header: tuple[str, ...], rows: Any) -> str:
    """Return a Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _default(field: Schema) -> str:
    value = field.get("default")
    return "" if value in (None, "") or "$ref" in field or isinstance(value, dict) else f"`{json.dumps(value)}`"


def _references(part: Any) -> list[str]:
    return re.findall(r"#/\$defs/(\w+)", json.dumps(part))


def type_of(field: Schema) -> str:
    """What may stand as the value of a key, in words."""
    if "$ref" in field:
        return LINKS.get(_references(field)[0], "mapping")
    for choice in ("anyOf", "oneOf"):
        if choice in field:
            return " or ".join(dict.fromkeys(type_of(one) for one in field[choice] if one.get("type") != "null"))
    if "enum" in field or "const" in field:
        return _words(field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return _list(field)
    if field.get("type") == "object":
        return f"mapping of names to {type_of(field['additionalProperties'])}"
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    kind: str = field.get("type", "")
    word = "path" if field.get("format") == "path" else words.get(kind, kind)
    return word + _bounds(field)


def _list(field: Schema) -> str:
    items = field.get("prefixItems", [field.get("items")])
    words = re.sub(r"\bnumber\b", "numbers", type_of(items[0]))
    return f"list of {len(items)} {words}" if len(items) > 1 else f"list of {words}"


def _words(values: list[Any]) -> str:
    if set(values) == set(VARIANTS.values()):
        return "[mode](#modes)"
    return ", ".join(f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in values)


def _bounds(field: Schema) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    found = [f"{word} {field[bound]:g}" for bound, word in words.items() if bound in field]
    return " ".join(["", *found]).replace(" below", " and below" if len(found) > 1 else " below")
