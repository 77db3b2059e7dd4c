"""`tflq` itself: the group of all commands."""

from __future__ import annotations

import gc
from typing import Any

import click

from tflq.cli.advise import advise
from tflq.cli.batch import batch
from tflq.cli.boundary import UnexpectedErrorBoundary, install_interrupt_handler
from tflq.cli.cache import show_cache
from tflq.cli.check import check
from tflq.cli.completion import completion
from tflq.cli.convert import convert
from tflq.cli.diff import diff
from tflq.cli.evaluate import evaluate
from tflq.cli.init import init
from tflq.cli.inspect import inspect
from tflq.cli.lint import lint
from tflq.cli.ops import ops
from tflq.cli.schema import schema
from tflq.cli.search import search
from tflq.cli.sensitivity import sensitivity
from tflq.cli.targets import targets
from tflq.cli.verify import verify


class _InOrder(click.Group):
    """Lists the commands in the order of use, and not by name."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        with UnexpectedErrorBoundary(context):
            return super().invoke(context)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tflq")
def main() -> None:
    """Convert a float TensorFlow model to .tflite files, then check and measure each file.

    A recipe is a YAML file. It names the model, the data, the files to write and the gates. A gate is a limit that
    each file must keep.

    \b
    The exit code is the most serious one of all variants and recipes:
        0  All files were written, and all gates passed.
        1  A file was written, but a gate failed.
        2  The command line or the recipe is wrong.
        3  The model cannot be read, or it lacks the signature.
        4  The data cannot be read or cannot be used for calibration.
        5  The conversion failed, crashed, timed out or ran out of memory.
        6  A file was written, but it breaks the contract of its mode.
        7  A file was written, but it cannot be run or evaluated.
        8  The Dask cluster was lost before all models were converted.
       70  There is an error in tflq itself. Please report it.
      130  The run was interrupted.
    """
    install_interrupt_handler()
    gc.set_threshold(50_000)  # the imports of a command make many objects, and hardly any of them becomes garbage


COMMANDS = (
    *(convert, batch, check, init, ops, sensitivity, search, advise, evaluate, verify),
    *(inspect, lint, targets, diff, schema, show_cache, completion),
)
for command in COMMANDS:
    main.add_command(command)
