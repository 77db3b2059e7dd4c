"""`tflq completion`: the script that lets a shell complete commands, options and files."""

from __future__ import annotations

from typing import Literal

import click

Shell = Literal["bash", "zsh", "fish"]
PROGRAM = "tflq"
VARIABLE = "_TFLQ_COMPLETE"
"""The environment variable by which the script asks the program for completions; click derives it from the name."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: Shell) -> None:
    """Print the script for completion in a shell.

    With the script, the shell completes commands, options and file names. Add the line below to the startup file of
    your shell, and open a new shell.

    \b
    bash, in ~/.bashrc:
        eval "$(tflq completion bash)"
    zsh, in ~/.zshrc, below the line with compinit:
        eval "$(tflq completion zsh)"
    fish, once:
        tflq completion fish > ~/.config/fish/completions/tflq.fish
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    scripts = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    script = scripts[shell](context.find_root().command, {}, PROGRAM, VARIABLE)
    click.echo(script.source(), nl=False)
