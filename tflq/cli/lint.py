"""`tflq lint`: does a file run on a target?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, say
from tflq.cli.options import CommandOptions, ExistingFile, pass_options


@click.command()
@click.argument("file", metavar="FILE.tflite", type=ExistingFile)
@click.option(
    "--target",
    "names",
    metavar="NAME",
    multiple=True,
    help="A target that `tflq targets` lists, or the path of a YAML file. May be repeated. Default: all of the list.",
)
@click.option(
    "--whole", is_flag=True, help="Also fail if only a part of FILE runs on a target, or if that is not known."
)
@option.json
@pass_options
def lint(options: CommandOptions, file: Path, names: tuple[str, ...], whole: bool) -> None:
    """Say whether FILE runs on targets, and why not.

    FILE may come from any tool. The ops of FILE are compared with the tables of the targets. FILE is not run. For each
    target there is one line: FILE runs whole, falls back in part to the CPU, or does not run. Conditions that are not
    checked follow as not known. For TensorFlow Lite Micro, the line also has the memory of activations and variables.
    For an Ethos-U with a size, such as ethos-u55-128, FILE is compiled with Vela if tflq[ethos-u] is installed.

    The exit code is 1 if FILE does not run on a target that --target names.
    """
    from tflq.report import targets as report
    from tflq.targets.shipped import load, shipped
    from tflq.targets.verdict import file_verdicts

    with boundary(options.as_json):
        chosen = [load(name) for name in names] or list(shipped())
        verdicts = file_verdicts(file, chosen)
    if options.as_json:
        click.echo(json.dumps([report.to_dict(verdict) for verdict in verdicts], indent=2, ensure_ascii=False))
    else:
        say("\n".join(report.lines(verdicts)))
    failing = ("does not run", "falls back", "not known") if whole else ("does not run",)
    sys.exit(1 if names and any(verdict.outcome in failing for verdict in verdicts) else 0)
