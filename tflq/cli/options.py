"""What commands that run recipes have in common: each option puts its value into the Options of the call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

File = click.Path(path_type=Path)
ExistingFile = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass
class Options:
    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    output: Path | None = None
    as_json: bool = False
    verbose: bool = False
    timeout: float | None = None
    verifies_reproducible: bool = False


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    setattr(context.ensure_object(Options), str(parameter.name), value)


overriding = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_keep,
    expose_value=False,
    help="Override a key of RECIPE, such as calibration.samples=50 or variants.0.name=edge; may be repeated.",
)
only = click.option(
    "--only",
    metavar="NAME",
    multiple=True,
    callback=_keep,
    expose_value=False,
    help="Make only the variant of that name; may be repeated.",
)
output = click.option(
    "--output",
    metavar="DIR",
    type=File,
    callback=_keep,
    expose_value=False,
    help="Write there, not where RECIPE says; of several recipes, each in a folder of its name.",
)
json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    callback=_keep,
    expose_value=False,
    help="Print the report as JSON to standard output, and nothing else there.",
)
verbose = click.option(
    "-v", "--verbose", is_flag=True, callback=_keep, expose_value=False, help="Show what TensorFlow says, too."
)
timeout = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    callback=_keep,
    expose_value=False,
    help="Stop a stage that takes longer.",
)
verify_reproducible = click.option(
    "--verify-reproducible",
    "verifies_reproducible",
    is_flag=True,
    callback=_keep,
    expose_value=False,
    help="Make every file twice, the second time from nothing kept, and compare the bytes.",
)
pass_options = click.make_pass_decorator(Options, ensure=True)
