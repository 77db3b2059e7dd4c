"""The JSON Schema of a zoo file, for editors. It has the keys of a zoo and of a recipe, which may be partial."""

from __future__ import annotations

import json
from typing import Any

from tflq import recipe
from tflq.batch.zoo import Zoo

PARTIAL_SECTIONS = ("Calibration", "Evaluation")
"""The sections that one file may give in part, and another file may complete."""


def json_schema() -> str:
    whole = json.loads(recipe.json_schema())
    sections = whole["$defs"]
    for name in PARTIAL_SECTIONS:
        del sections[name]["required"]
    keys = whole["properties"]
    path = {"type": "string", "description": "A recipe file, or a pattern of recipe files."}
    sections["Defaults"] = _part(keys, "Keys of a recipe.")
    sections["Entry"] = _part(
        {"recipe": path, **keys}, "A model or a recipe, and the keys that differ from the defaults."
    )
    schema = Zoo.model_json_schema()
    schema["properties"]["defaults"] |= {"$ref": "#/$defs/Defaults"}
    schema["properties"]["models"]["items"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Entry"}]}
    schema["required"] = ["kind"]
    schema["anyOf"] = [{"required": ["models"]}, {"required": ["extends"]}]
    return json.dumps({"$schema": whole["$schema"], "$defs": sections} | schema, indent=2) + "\n"


def _part(keys: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "type": "object", "properties": keys, "additionalProperties": False}
