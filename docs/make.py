"""Write the generated parts of the documentation; with --check, only say which of them are stale.

docs/recipe.md            every key of a recipe, from the models that read it
docs/zoo.md, keys         every key of a zoo
docs/zoo.md, help         what `tflq batch --help` prints
docs/search.md, help      what `tflq search --help` prints
docs/sensitivity.md, help the same of `tflq sensitivity --help`
docs/explanation.md       the numbers by which tflq decides
README.md, help           what `tflq --help` prints
README.md, modes          the modes and what each promises
README.md, accuracy       what benchmarks/accuracy.md comes to
README.md, speed          what benchmarks/results.md comes to
README.md, results         with --results: the tables of reports, which `make demo demo-qat` left on disk
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thresholds import numbers

from tflq.batch.schema import json_schema as zoo_schema
from tflq.modes import MODES
from tflq.recipe import json_schema

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
ACCURACY, SPEED = ROOT / "benchmarks/accuracy.md", ROOT / "benchmarks/results.md"
ZOO = ROOT / "docs/zoo.md"
SEARCH = ROOT / "docs/search.md"
SENSITIVITY = ROOT / "docs/sensitivity.md"
EXPLANATION = ROOT / "docs/explanation.md"
REPORTS = {
    "results": ROOT / "examples/digits/build/tflite/report.md",
    "training": ROOT / "examples/qat/build/tflite/report.md",
}
Schema = dict[str, Any]


def main(arguments: list[str]) -> int:
    readme = block(block(README.read_text(), "help", help_text()), "modes", modes())
    readme = block(readme, "accuracy", accuracy())
    readme = block(readme, "speed", speed())
    if "--results" in arguments:
        for name, report in REPORTS.items():
            readme = block(readme, name, results(report))
    zoo = block(block(ZOO.read_text(), "keys", zoo_keys()), "help", help_text("batch"))
    search = block(SEARCH.read_text(), "help", help_text("search"))
    sensitivity = block(SENSITIVITY.read_text(), "help", help_text("sensitivity"))
    wanted = {
        ROOT / "docs/recipe.md": reference(),
        README: readme,
        ZOO: zoo,
        SEARCH: search,
        SENSITIVITY: sensitivity,
        EXPLANATION: block(EXPLANATION.read_text(), "numbers", numbers()),
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: run make docs")
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path])
    return 0


def block(text: str, name: str, content: str) -> str:
    """The text, with what stands between its markers of that name replaced."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}{content.rstrip()}\n{end}{after}"


def help_text(*command_name: str) -> str:
    command = [sys.executable, "-c", "from tflq.cli import main; main(prog_name='tflq')", *command_name, "--help"]
    environment = {"COLUMNS": "100", "PATH": ""}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return f"```console\n$ {' '.join(['tflq', *command_name, '--help'])}\n{said}```"


def modes() -> str:
    rows = [
        f"| `{kind.model_fields['mode'].default}` | {_cell(kind.__doc__ or '')} | {_data(kind)} |" for kind in MODES
    ]
    return "\n".join(["| mode | what it is | calibration data |", "| --- | --- | --- |", *rows])


def _data(kind: type) -> str:
    if kind.needs_ranges:  # type: ignore[attr-defined]
        return "needed"
    return "none" if "bias_correction" in kind.ignored else "of use, not needed"  # type: ignore[attr-defined]


def results(report: Path) -> str:
    table = re.search(r"^\|.*?(?=\n\n)", report.read_text(), re.MULTILINE | re.DOTALL)
    if table is None:
        raise SystemExit(f"{report} has no table: run make demo demo-qat")
    return table.group()


def accuracy() -> str:
    """The summaries below its tables."""
    return _listed(re.findall(r"^int(?:8|16x8): .*$", ACCURACY.read_text(), re.MULTILINE), ACCURACY)


def speed() -> str:
    """The summaries below its tables of conversions."""
    found = re.findall(r"^## (Six modes of MobileNetV2.*)$(?s:.*?)^(tflq is .*?);", SPEED.read_text(), re.MULTILINE)
    return _listed([f"{title}: {summary}." for title, summary in found], SPEED)


def _listed(lines: list[str], page: Path) -> str:
    if not lines:
        raise SystemExit(f"{page} has no summary: print it anew")
    return "\n".join(f"- {line}" for line in lines)


def zoo_keys() -> str:
    """Of a zoo's own; those of recipes are on another page."""
    keys = "\n\n".join(_section(json.loads(zoo_schema())))
    return re.sub(r"\[(Defaults|Entry)\]\(#\w+\)", "[keys of a recipe](recipe.md#recipe)", keys)


def reference() -> str:
    schema = json.loads(json_schema())
    parts = [
        "# The recipe, key by key",
        "Made from the program's own models by `make docs`. Unknown keys, keys given twice and values of another type"
        " are refused, with file, line and the nearest spelling. Paths are taken from the folder of the recipe.",
        "## Recipe",
        *_section(schema),
    ]
    for name, section in _in_order(schema):
        parts += [f"## {name}", *_section(section)]
    return "\n\n".join(parts) + "\n"


def _in_order(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The parts of the schema, in the order in which a reader meets them."""
    waiting, seen = _references(schema["properties"]), set()
    while waiting:
        name = waiting.pop(0)
        if name not in seen:
            seen.add(name)
            yield name, schema["$defs"][name]
            waiting = _references(schema["$defs"][name]) + waiting


def _references(part: Any) -> list[str]:
    return re.findall(r"#/\$defs/(\w+)", json.dumps(part))


def _section(section: Schema) -> Iterator[str]:
    if "description" in section:
        yield section["description"]
    required = [*section.get("required", []), *section.get("anyOf", [{}])[0].get("required", [])]
    rows = [_row(key, field, required) for key, field in section["properties"].items()]
    yield "\n".join(["| key | type | default | meaning |", "| --- | --- | --- | --- |", *rows])


def _row(key: str, field: Schema, required: list[str]) -> str:
    default = f"`{json.dumps(field.get('default'))}`"
    default = "" if default == "`null`" or "$ref" in field or default.startswith("`{") else default
    default = "**required**" if key in required else default
    return f"| `{key}` | {_cell(_type(field))} | {_cell(default)} | {_cell(field.get('description', ''))} |"


def _type(field: Schema) -> str:
    if "$ref" in field:
        name = _references(field)[0]
        return f"[{name}](#{name.lower()})"
    for choice in ("anyOf", "oneOf"):
        if choice in field:
            return " or ".join(dict.fromkeys(_type(one) for one in field[choice] if one.get("type") != "null"))
    if "enum" in field or "const" in field:
        values = field.get("enum", [field.get("const")])
        return ", ".join(f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in values)
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}" if "items" in field else f"list of {len(field['prefixItems'])}"
    if field.get("type") == "object":
        return f"mapping to {_type(field['additionalProperties'])}"
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return "path" if field.get("format") == "path" else words.get(field.get("type", ""), field.get("type", ""))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
