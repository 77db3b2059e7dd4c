"""Compare the files that two versions of tflq write: every example and every config, byte for byte.

    python -m benchmarks.same_files REVISION

converts each recipe of examples/ and configs/ twice, once with the package of the git revision and once with the
package of the working tree. Both start with an empty cache. It prints the files whose bytes differ, and the keys of
report.json that only one version writes. Keys of the recipe that the report repeats do not count. The exit code is 1
if anything differs. The results of a revision are kept in benchmarks/build/.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "benchmarks/build/same_files"
CLONE = BUILD / "clone"
"""A copy of the examples and the configs whose models have been trained."""
TFLQ = "from tflq.cli import main; main(prog_name='tflq')"
Facts = dict[str, str]
"""`recipe/file` → its SHA-256, and `recipe/key.of.report` → an empty text."""


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        raise SystemExit("usage: python -m benchmarks.same_files REVISION")
    train_models()
    before, after = facts_of_revision(arguments[0]), facts_of(ROOT)
    differences = [name for name in sorted(before | after) if before.get(name) != after.get(name)]
    for name in differences:
        print(f"{name}: {described(before, after, name)}")
    files = sum(name.endswith(".tflite") for name in after)
    print(f"{files} files and {len(after) - files} keys of reports compared, {len(differences)} differ")
    return 1 if differences else 0


def described(before: Facts, after: Facts, name: str) -> str:
    if name in before and name in after:
        return "the bytes differ"
    return "only written by the working tree" if name in after else "only written by the revision"


def train_models() -> None:
    """Train the models of the examples once; later calls use them again."""
    if (CLONE / "trained").exists():
        return
    shutil.rmtree(CLONE, ignore_errors=True)
    for name in ("examples", "configs"):
        shutil.copytree(ROOT / name, CLONE / name, ignore=shutil.ignore_patterns("build", "__pycache__"))
    for module in ("digits.train", "digits.other_kinds", "qat.train", "zoo.models"):
        subprocess.run([sys.executable, "-m", f"examples.{module}"], cwd=CLONE, check=True, stdout=sys.stderr)
    (CLONE / "trained").touch()


def facts_of_revision(revision: str) -> Facts:
    """The facts of a git revision, which are computed once for the models at hand."""
    commit = git("rev-parse", "--verify", f"{revision}^{{commit}}")
    kept = BUILD / f"{commit}-without-recipe.json"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            archive = subprocess.run(["git", "archive", commit, "tflq"], cwd=ROOT, check=True, capture_output=True)
            subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
            facts = facts_of(Path(folder))
        kept.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    kept_facts: dict[str, str] = json.loads(kept.read_text(encoding="utf-8"))
    return kept_facts


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def facts_of(tree: Path) -> Facts:
    """Convert all recipes with the package of this tree, in a folder of its own."""
    facts: Facts = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": str(tree), "TFLQ_CACHE_DIR": str(Path(folder) / "cache")}
        for recipe in recipes():
            output = Path(folder) / recipe.parent.name / recipe.stem
            command = [sys.executable, "-c", TFLQ, "convert", str(recipe), "--output", str(output)]
            print(f"{tree.name}: {recipe.relative_to(CLONE)}", file=sys.stderr)
            subprocess.run(command, cwd=CLONE, env=environment, capture_output=True, check=False)
            facts |= {f"{output.relative_to(folder)}/{name}": value for name, value in facts_in(output).items()}
    return facts


def recipes() -> list[Path]:
    """Return all recipes, without the file that the recipes of the zoo extend."""
    found = [*CLONE.glob("examples/*/*.yaml"), *CLONE.glob("configs/*.yaml")]
    return sorted(path for path in found if path.name != "common.yaml")


def facts_in(output: Path) -> Facts:
    facts = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in output.glob("*.tflite")}
    report = output / "report.json"
    if report.exists():
        document = json.loads(report.read_text(encoding="utf-8"))
        facts |= dict.fromkeys(keys({key: value for key, value in document.items() if key != "recipe"}), "")
    return facts


def keys(value: Any, prefix: str = "report") -> Iterator[str]:
    """The dotted paths of all keys, with those of all items of a list under one name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{prefix}.{key}"
            yield from keys(inner, f"{prefix}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner, f"{prefix}[]")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
