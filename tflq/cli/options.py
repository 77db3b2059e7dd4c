"""The options that several commands share. Each option stores its value in an options object of the call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

Seconds = click.FloatRange(min=0, min_open=True)


class PathType(click.Path):
    """A path. An empty text, such as that of an unset variable, would be the present folder and is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


class WrittenPathType(PathType):
    """A path that is written to. `-`, which is standard output elsewhere, would be a file of this name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "-":
            self.fail("'-' is not a path: write ./- for this name, or /dev/stdout for standard output", param, ctx)
        return super().convert(value, param, ctx)


File = PathType(path_type=Path)
WrittenFile = WrittenPathType(path_type=Path)
ExistingFile = PathType(exists=True, dir_okay=False, path_type=Path)


@dataclass
class CommandOptions:
    """The options of the commands that read one or more recipes."""

    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    output: Path | None = None
    as_json: bool = False
    verbose: bool = False
    timeout: float | None = None
    verifies_reproducible: bool = False
    refuses_code: bool = False
    opens_page: bool = False
    log: Path | None = None
    """The path of the run's log; None before a run begins. It is not an option of the command line."""


OptionsType = TypeVar("OptionsType")


def stored_options(context: click.Context, options: type[OptionsType]) -> OptionsType:
    """Return the options object of that class for this call; create it on first use."""
    stored: OptionsType = context.meta.setdefault(_key(options), options())
    return stored


def pass_options_of(options: type[Any]) -> Callable[[Any], Any]:
    """Return a decorator that passes the options object of that class to the command."""
    return click.decorators.pass_meta_key(_key(options))


def _key(options: type[Any]) -> str:
    return f"{options.__module__}.{options.__qualname__}"


def option_of(
    options: type[Any], *names: str, help: str, metavar: str | None = None, type: Any = None
) -> Callable[[Any], Any]:
    """Return an option that stores its value in the options object of that class.

    The field of the same name gives the default. A default of () means that the option may be repeated.
    """
    default = getattr(options, names[-1].lstrip("-").replace("-", "_"))

    def store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
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
        callback=store,
        expose_value=False,
    )


_option = partial(option_of, CommandOptions)
overriding = _option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    help="Override a key of RECIPE, such as calibration.samples=50 or variants.0.name=edge. May be repeated.",
)
only = _option("--only", metavar="NAME", help="Convert only the variant with this name. May be repeated.")
output = _option(
    "--output", metavar="DIR", type=WrittenFile, help="Write into DIR instead of the output folder of RECIPE."
)
outputs = _option(
    "--output",
    metavar="DIR",
    type=WrittenFile,
    help="Write into DIR instead of the output folder of RECIPE. With several recipes, each has a folder in DIR.",
)
measured = _option(
    "--output",
    metavar="DIR",
    type=File,
    help="Read the report in DIR. Needed if `tflq convert` was run with --output DIR.",
)
json = _option("--json", "as_json", help="Print the report as JSON on standard output, and nothing else.")
verbose = _option("-v", "--verbose", help="Also show every stage and the messages of TensorFlow.")
timeout = _option("--timeout", metavar="SECONDS", type=Seconds, help="Stop a stage that takes longer.")


no_code = _option(
    "--no-code", "refuses_code", help="Refuse a RECIPE that names Python functions, so that none of its code is run."
)


def running(command: Any) -> Any:
    """Add --json, --verbose and --timeout, the options of every command that runs a recipe."""
    return json(verbose(timeout(command)))


verify_reproducible = _option(
    "--verify-reproducible",
    "verifies_reproducible",
    help="Convert every file a second time, without the cache, and compare the bytes. Trained files are left out.",
)
open_page = _option("--open", "opens_page", help="Open report.html in the browser at the end.")
pass_options = pass_options_of(CommandOptions)
