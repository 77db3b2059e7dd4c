"""The hook for pre-commit and the GitHub action: what they run exists, and works as they run it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from batching import on, write_zoo
from commands import environment_with_tflq

from tflq.cli import main

ROOT = Path(__file__).parent.parent
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]
INPUT = re.compile(r"\binputs\.([\w-]+)")
WORD = re.compile(r"(?<![\w-])--?[a-z][\w-]*")

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def options_of(command: str) -> set[str]:
    """All spellings of all options of that command."""
    parameters = main.commands[command].params
    return {name for one in parameters if isinstance(one, click.Option) for name in (*one.opts, *one.secondary_opts)}


def test_hooks_have_what_pre_commit_asks_for() -> None:
    (hook,) = HOOKS
    assert {"id", "name", "entry", "language", "files"} <= set(hook)
    assert (hook["id"], hook["language"], hook["types"]) == ("tflq-check", "python", ["yaml"])


@pytest.mark.parametrize(
    ("path", "is_recipe"),
    [
        ("recipe.yaml", True),
        ("models/recipe.yml", True),
        ("models/net.recipe.yaml", True),
        ("net-recipe.yaml", True),
        ("recipes/net.yaml", True),
        ("models/recipes/deep/net.yml", True),
        ("zoo.yaml", False),
        (".github/workflows/ci.yml", False),
        ("recipe.yaml.txt", False),
        ("norecipe.yaml", False),
    ],
)
def test_hook_takes_recipes_and_leaves_other_files(path: str, is_recipe: bool) -> None:
    assert bool(re.search(HOOKS[0]["files"], path)) == is_recipe


def test_entry_of_the_hook_checks_several_files(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/saved_model.pb").touch()
    (tmp_path / "good.yaml").write_text("model: net\nmode: float16\n")
    (tmp_path / "bad.yaml").write_text("model: net\nmode: float61\n")
    environment = environment_with_tflq(tmp_path)

    def ran(*files: str) -> subprocess.CompletedProcess[str]:
        command = [*shlex.split(HOOKS[0]["entry"]), *files]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    both = ran("good.yaml", "bad.yaml")
    assert (both.returncode, both.stdout) == (2, "")
    assert "bad.yaml:2: mode: 'float61'" in both.stderr
    one = ran("good.yaml")
    assert (one.returncode, one.stdout) == (0, "good.yaml: ok: net to float16 in build/good\n")


def test_every_input_of_the_action_is_described_and_used() -> None:
    text = yaml.safe_dump(ACTION["runs"])
    assert set(INPUT.findall(text)) == set(ACTION["inputs"])
    assert not [name for name, one in ACTION["inputs"].items() if not one["description"].endswith(".")]
    assert all(one.get("required") or "default" in one for one in ACTION["inputs"].values())


def test_every_step_of_the_action_says_what_runs_it() -> None:
    assert not [step["name"] for step in STEPS if ("uses" in step) == ("run" in step)]
    assert not [step["name"] for step in STEPS if "run" in step and step.get("shell") != "bash"]


def test_an_input_reaches_the_shell_only_by_a_variable() -> None:
    """Text that the shell would read as code must not stand in a script."""
    assert not [step["name"] for step in STEPS if "${{" in step.get("run", "")]


def test_every_command_and_option_of_the_action_exists() -> None:
    lines = [line.strip() for step in STEPS for line in step.get("run", "").splitlines()]
    called = [line.split() for line in lines if line.startswith("tflq ")]
    assert [words[1] for words in called] == ["batch"]
    for _, command, *words in called:
        assert set(WORD.findall(" ".join(words))) <= options_of(command)


def test_every_option_that_the_action_mentions_exists() -> None:
    comments = [line for line in (ROOT / "action.yml").read_text().splitlines() if line.startswith("#")]
    mentioned = WORD.findall("\n".join([*comments, *(one["description"] for one in ACTION["inputs"].values())]))
    assert "--jobs" in mentioned
    assert set(mentioned) <= options_of("batch")


def test_the_action_installs_this_repository() -> None:
    (install,) = (step["run"] for step in STEPS if step["name"] == "Install tflq")
    assert shlex.split(install)[-1] == "$ACTION"
    assert "$ACTION/constraints.txt" in shlex.split(install)
    assert (ROOT / "constraints.txt").is_file()


def test_the_action_saves_what_it_restores() -> None:
    caches = {step["uses"].split("@")[0]: step for step in STEPS if "actions/cache" in step.get("uses", "")}
    restore, save = caches["actions/cache/restore"]["with"], caches["actions/cache/save"]["with"]
    assert {key: restore[key] for key in ("path", "key")} == save
    assert save["key"].startswith(restore["restore-keys"])
    assert caches["actions/cache/save"]["if"].startswith("always()")


@needs_bash
@pytest.mark.slow
def test_the_action_runs_a_zoo_and_writes_the_job_summary(models: Path, data: Path, tmp_path: Path) -> None:
    zoo = write_zoo(tmp_path, [str(models / "tiny_dense")], variants=["int8"], calibration=on(data, "vectors"))
    runner = Runner(tmp_path)
    made = runner.run(paths=f"\n{zoo.name}\n", options="--jobs=1\n\n--set=latency=off\n")
    assert (made["exit-code"], made["code"]) == ("0", "0"), made["log"]
    assert made["page"] == (tmp_path / "temp/tflq-summary/summary.md").read_text()
    assert made["summary"] == str(tmp_path / "temp/tflq-summary")
    assert "tiny_dense" in made["page"]
    assert (tmp_path / "build/tiny_dense/tiny_dense-int8.tflite").is_file()
    assert any((tmp_path / ".cache/tflq").iterdir())
    again = runner.run(paths=zoo.name, options="--set=latency=off")
    assert "1 up to date" in again["page"]
    failed = runner.run(paths=zoo.name, options="--set=latency=off\n--set=gates.min_sqnr_db=200")
    assert (failed["exit-code"], failed["code"]) == ("1", "1")
    assert "min_sqnr_db" in failed["page"]
    wrong = runner.run(paths="nothing.yaml", options="")
    assert (wrong["exit-code"], wrong["code"], wrong["page"]) == ("2", "2", "")


class Runner:
    """Runs the step `Run tflq batch` in a folder, as the service does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = environment_with_tflq(folder)
        (self._step,) = (step for step in STEPS if step.get("id") == "batch")
        (folder / "temp").mkdir()
        (folder / "temp/step.sh").write_text(self._step["run"])

    def run(self, **inputs: str) -> dict[str, str]:
        """The step's outputs, and `code`, `page` and `log`: its exit code, its job summary, its standard error."""
        files = {name: self._folder / "temp" / name for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
        for file in files.values():
            file.write_text("")
        given = {
            name: INPUT_WHOLE.sub(lambda found: inputs[found[1]], text) for name, text in self._step["env"].items()
        }
        environment: dict[str, Any] = self._environment | given | files | {"RUNNER_TEMP": self._folder / "temp"}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "temp/step.sh"]
        ran = subprocess.run(command, cwd=self._folder, env=environment, capture_output=True, text=True, check=False)
        outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        page = files["GITHUB_STEP_SUMMARY"].read_text()
        return outputs | {"code": str(ran.returncode), "page": page, "log": ran.stdout + ran.stderr}


INPUT_WHOLE = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


def test_the_page_says_what_the_hook_and_the_action_take() -> None:
    page = (ROOT / "docs/howto/ci.md").read_text(encoding="utf-8")
    step, hooks, local = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)[1:]]
    inputs = dict(re.findall(r"^\| `([\w-]+)` \| .* \| (.*) \|$", page, re.MULTILINE))
    assert inputs.keys() == ACTION["inputs"].keys() >= step[1]["with"].keys()
    for name, default in re.findall(r"^\| `([\w-]+)` \| .* \| `(.*)` \|$", page, re.MULTILINE):
        assert ACTION["inputs"][name]["default"] == default
    assert all(f"`{name}`" in page for name in ACTION["outputs"])
    (offered,), (own,) = (text["repos"][0]["hooks"] for text in (hooks, local))
    assert offered == {"id": HOOKS[0]["id"]}
    assert {key: own[key] for key in own if key not in ("language", "files")}.items() <= HOOKS[0].items()
