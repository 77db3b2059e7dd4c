"""`tflq completion`: the scripts, in the shells that they are for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment_with_tflq

LOADED = """\
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from tflq.cli import main
main(prog_name="tflq")
"""
HEAVY = {"tensorflow", "keras", "pydantic", "numpy", "rich"}
BASH = """\
eval "$(tflq completion bash)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_tflq_completion tflq
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = 'tflq completion fish | source; complete -C "$argv"'
ZSH = """\
compdef() { registered="$*" }
eval "$(tflq completion zsh)"
echo $registered
"""

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
needs_zsh = pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
needs_fish = pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return environment_with_tflq(tmp_path)


def said(command: list[str], environment: dict[str, str]) -> list[str]:
    """The lines that the command prints."""
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@needs_bash
@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("tflq che", ["check"]),
        ("tflq c", ["convert", "check", "cache", "completion"]),
        ("tflq convert --verify", ["--verify-reproducible"]),
        ("tflq batch --format ", ["rich", "plain", "json"]),
        ("tflq completion ", ["bash", "zsh", "fish"]),
        ("tflq frobnicate --x", [""]),
    ],
)
def test_bash_completes(line: str, completions: list[str], environment: dict[str, str]) -> None:
    assert said(["bash", "--norc", "-c", BASH, "bash", *line.split(" ")], environment) == completions


@needs_bash
def test_bash_calls_the_function_for_the_command(environment: dict[str, str]) -> None:
    code = 'eval "$(tflq completion bash)" && complete -p tflq'
    assert said(["bash", "--norc", "-c", code], environment) == ["complete -o nosort -F _tflq_completion tflq"]


@needs_fish
def test_fish_completes(environment: dict[str, str]) -> None:
    (line,) = said(["fish", "-c", FISH, "tflq convert --verify"], environment)
    assert line.startswith("--verify-reproducible\t")


@needs_zsh
def test_zsh_registers_the_function(environment: dict[str, str]) -> None:
    assert said(["zsh", "-f", "-c", ZSH], environment) == ["_tflq_completion tflq"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_asks_the_command_for_completions(shell: str, environment: dict[str, str]) -> None:
    script = "\n".join(said(["tflq", "completion", shell], environment))
    assert f"_TFLQ_COMPLETE={shell}_complete" in script


@pytest.mark.parametrize("words", ["tflq che", "tflq convert --ver"])
def test_completion_imports_nothing_heavy(words: str) -> None:
    asked = {"_TFLQ_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-c", LOADED]
    ran = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.startswith("plain,")) == (0, True), ran.stderr
    loaded = set(ran.stderr.split())
    assert "click.shell_completion" in loaded
    assert not HEAVY & loaded
