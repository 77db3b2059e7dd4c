"""What commands that run recipes have in common: each option puts its value into the Options of the call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

File = click.Path(path_type=Path)
ExistingFile = click.Path(exists=True, dir_okay=False, path_type=Path)
Seconds = click.FloatRange(min=0, min_open=True)


@dataclass
class CommandOptions:
    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    output: Path | None = None
    as_json: bool = False
    verbose: bool = False
    timeout: float | None = None
    verifies_reproducible: bool = False
    log: Path | None = None
    """Where the run writes its log; None before a run begins. It is no option of the command line."""


OptionsType = TypeVar("OptionsType")


def stored_options(context: click.Context, options: type[OptionsType]) -> OptionsType:
    """The call's object of that class, which its options put their values into."""
    found: OptionsType = context.meta.setdefault(_key(options), options())
    return found


def pass_options_of(options: type[Any]) -> Callable[[Any], Any]:
    """Hand that object to the command."""
    return click.decorators.pass_meta_key(_key(options))


def _key(options: type[Any]) -> str:
    return f"{options.__module__}.{options.__qualname__}"


def option_of(
    options: type[Any], *names: str, help: str, metavar: str | None = None, type: Any = None
) -> Callable[[Any], Any]:
    """An option that puts its value into the call's object of that class, whose field of its name has the default."""
    default = getattr(options, names[-1].lstrip("-").replace("-", "_"))

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        setattr(stored_options(context, options), str(parameter.name), value)

    return click.option(
        *names,
        type=type,
        metavar=metavar,
        help=help,
        default=None if default == () else default,
        multiple=default == (),
        is_flag=default is False,
        show_default=bool(default),
        callback=keep,
        expose_value=False,
    )


_option = partial(option_of, CommandOptions)
overriding = _option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    help="Override a key of RECIPE, such as calibration.samples=50 or variants.0.name=edge; may be repeated.",
)
only = _option("--only", metavar="NAME", help="Make only the variant of that name; may be repeated.")
output = _option("--output", metavar="DIR", type=File, help="Write into DIR, not into the output folder of RECIPE.")
outputs = _option(
    "--output",
    metavar="DIR",
    type=File,
    help="Write into DIR, not into the output folder of RECIPE. Several recipes each get a folder there, by name.",
)
measured = _option("--output", metavar="DIR", type=File, help="Read the report in DIR, if convert wrote into DIR.")
json = _option("--json", "as_json", help="Print the report as JSON to standard output, and nothing else there.")
verbose = _option("-v", "--verbose", help="Show what TensorFlow says, too.")
timeout = _option("--timeout", metavar="SECONDS", type=Seconds, help="Stop a stage that takes longer.")


def running(command: Any) -> Any:
    """--json, --verbose and --timeout: the options of every command that runs a recipe."""
    return json(verbose(timeout(command)))


verify_reproducible = _option(
    "--verify-reproducible",
    "verifies_reproducible",
    help="Make every file twice, the second time without the cache, and compare the bytes; not trained ones.",
)
pass_options = pass_options_of(CommandOptions)
