"""`tflq` itself: the group of all commands."""

from __future__ import annotations

from typing import Any

import click

from tflq.cli.advise import advise
from tflq.cli.batch import batch
from tflq.cli.boundary import Outermost, heed_interrupts
from tflq.cli.cache import show_cache
from tflq.cli.check import check
from tflq.cli.completion import completion
from tflq.cli.convert import convert
from tflq.cli.evaluate import evaluate
from tflq.cli.init import init
from tflq.cli.inspect import inspect
from tflq.cli.ops import ops
from tflq.cli.schema import schema
from tflq.cli.search import search
from tflq.cli.sensitivity import sensitivity


class _InOrder(click.Group):
    """Lists the commands in the order in which one meets them."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        with Outermost(context):
            return super().invoke(context)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tflq")
def main() -> None:
    """Turn a float TensorFlow model into the .tflite files that ship: asked, made, checked, measured.

    \b
    Exit codes, the gravest of all variants and recipes:
        0  made, checked, all gates passed
        1  made, but a gate failed
        2  the command line or the recipe is wrong
        3  the source cannot be read, or has no such signature
        4  the data cannot be read, or cannot calibrate
        5  conversion failed or crashed, timed out, ran out of memory
        6  made, but it breaks its mode's contract
        7  made, but it cannot be run or evaluated
       70  an error in tflq itself, which should be reported
      130  interrupted
    """
    heed_interrupts()


COMMANDS = (
    *(convert, batch, check, init, ops, sensitivity, search, advise, evaluate),
    *(inspect, schema, show_cache, completion),
)
for command in COMMANDS:
    main.add_command(command)
