"""Write the generated parts of the documentation. With --check, only print the stale files.

docs/recipe.md              the keys of a recipe, from the pydantic models that read it
docs/zoo.md                 the keys of a zoo, and the output of `tflq batch --help`
docs/diff.md                the output of `tflq diff --help`
docs/targets.md             the targets and their keys, and the output of `tflq lint --help`
docs/search.md              the output of `tflq search --help`
docs/explanation.md         the numbers by which tflq decides
docs/rules.md               the rules and what breaking them does
docs/report.md              the number of samples that a file is measured on
docs/sensitivity.md         the output of `tflq sensitivity --help`
docs/howto/choose-a-mode.md what to expect of each mode
README.md                   the modes
docs/commands.md            the output of `tflq --help`
benchmarks/README.md        the summaries of benchmarks/accuracy.md and benchmarks/results.md
README.md, results          with --results: the table of the report of `make demo`
docs/howto/training.md      with --results: the table of the report of `make demo-qat`
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import reference
from reference import calibration_of, cell, section, table
from thresholds import measuring, numbers

from tflq.batch.schema import json_schema as zoo_schema
from tflq.modes import GUIDE, GUIDE_COLUMNS, MODES, QAT_MODES
from tflq.rules.effect import EFFECTS
from tflq.targets.schema import Target
from tflq.targets.shipped import shipped

ROOT = Path(__file__).parent.parent
ACCURACY, SPEED = ROOT / "benchmarks/accuracy.md", ROOT / "benchmarks/results.md"


def main(arguments: list[str]) -> int:
    """Write or check all pages, and return the exit code."""
    pages = {ROOT / page: _filled(ROOT / page, blocks) for page, blocks in BLOCKS.items()}
    if "--results" in arguments:
        for page, (name, report) in REPORTS.items():
            text = pages.get(ROOT / page) or (ROOT / page).read_text()
            pages[ROOT / page] = block(text, name, results(ROOT / report))
    pages[ROOT / "docs/recipe.md"] = reference.page()
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)}: the generated parts are stale: run make docs")
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages[path])
    return 0


def _filled(page: Path, blocks: dict[str, Callable[[], str]]) -> str:
    text = page.read_text()
    for name, content in blocks.items():
        text = block(text, name, content())
    return text


def block(text: str, name: str, content: str) -> str:
    """Return the text with new content between the markers of that name."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = text.partition(start)
    _, end_marker, after = rest.partition(end)
    if not end_marker:
        raise SystemExit(f"the markers of the block {name} are missing: add {start.rstrip()} and {end}")
    return f"{before}{start}{content.rstrip()}\n{end}{after}"


def help_text(*command_name: str) -> str:
    command = [sys.executable, "-c", "from tflq.cli import main; main(prog_name='tflq')", *command_name, "--help"]
    environment = {"COLUMNS": "100", "PATH": ""}
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return f"```console\n$ {' '.join(['tflq', *command_name, '--help'])}\n{output}```"


def modes() -> str:
    rows = [(f"`{kind.model_fields['mode'].default}`", cell(kind.__doc__ or ""), _data(kind)) for kind in MODES]
    return table(("mode", "files", "calibration data"), rows)


def guide() -> str:
    """What to expect of each mode, as `tflq advise --modes` prints it."""
    return table(GUIDE_COLUMNS, [(f"`{each.mode}`", *each.cells[1:]) for each in GUIDE])


def _data(kind: type) -> str:
    if kind.model_fields["mode"].default in QAT_MODES:  # type: ignore[attr-defined]
        return "none, but training data"
    return {"–": "none"}.get(calibration_of(kind), calibration_of(kind))


def results(report: Path) -> str:
    match = re.search(r"^\|.*?(?=\n\n)", report.read_text(), re.MULTILINE | re.DOTALL)
    if match is None:
        raise SystemExit(f"{report} has no table: run make demo demo-qat")
    return match.group()


def accuracy() -> str:
    """Return the summaries below the tables of benchmarks/accuracy.md, and the median gain of all its models."""
    page = ACCURACY.read_text()
    summaries = re.findall(r"^int(?:8|16x8)(?:, regret)?: .*$", page, re.MULTILINE)
    return _listed([*summaries, *_median_gains(page)], ACCURACY)


def _median_gains(page: str) -> Iterator[str]:
    """Yield the median gain of each mode over all models in the tables of regret."""
    for mode in ("int8", "int16x8"):
        row = rf"^\| [^|]+, {mode} \| \S+ dB \| \S+ dB \| (\S+) dB \|"
        gains = [float(gain) for gain in re.findall(row, page, re.MULTILINE)]
        if gains:
            yield (
                f"{mode}: {statistics.median(gains):+.1f} dB over the stock converter in the median of all"
                f" {len(gains)} models."
            )


def speed() -> str:
    """Return the summaries below the tables of conversions in benchmarks/results.md."""
    sections = [section.partition("\n") for section in re.split(r"^## ", SPEED.read_text(), flags=re.MULTILINE)]
    found = [(title, re.search(r"^(tflq is .*?);", text, re.MULTILINE)) for title, _, text in sections]
    return _listed([f"{title}: {summary.group(1)}." for title, summary in found if summary], SPEED)


def _listed(lines: list[str], page: Path) -> str:
    if not lines:
        raise SystemExit(f"{page} has no summary: run its benchmark again")
    return "\n".join(f"- {line}" for line in lines)


def zoo_keys() -> str:
    """Return the keys of a zoo. The keys of recipes are on another page."""
    schema = json.loads(zoo_schema())
    return "\n\n".join(section(schema, schema))


def targets() -> str:
    rows = [
        (", ".join(f"`{name}`" for name in (each.name, *each.also)), each.title, f"{each.source}; {each.date}")
        for each in shipped()
    ]
    return table(("name", "what", "source of its table"), rows)


def rules() -> str:
    """The ways to break a rule, with the runtimes that suffer."""
    rows = [(each.rule, each.fact, each.severity, each.runtimes) for each in EFFECTS]
    return table(("rule", "what is wrong", "severity", "runtimes"), rows)


def target_keys() -> str:
    schema = Target.model_json_schema()
    return "\n\n".join(section(schema, schema))


BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "docs/explanation.md": {"numbers": numbers},
    "docs/howto/choose-a-mode.md": {"modes": guide},
    "docs/report.md": {"measuring": measuring},
    "docs/rules.md": {"rules": rules},
    "README.md": {"modes": modes},
    "docs/commands.md": {"help": help_text},
    "docs/zoo.md": {"keys": zoo_keys, "help": lambda: help_text("batch")},
    "docs/diff.md": {"help": lambda: help_text("diff")},
    "docs/targets.md": {"targets": targets, "keys": target_keys, "help": lambda: help_text("lint")},
    "docs/search.md": {"help": lambda: help_text("search")},
    "docs/sensitivity.md": {"help": lambda: help_text("sensitivity")},
    "benchmarks/README.md": {"accuracy": accuracy, "speed": speed},
}
"""Page → the names of its generated blocks, and the function that returns each block."""
REPORTS = {
    "README.md": ("results", "examples/digits/build/tflite/report.md"),
    "docs/howto/training.md": ("training", "examples/qat/build/tflite/report.md"),
}

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
