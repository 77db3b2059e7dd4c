"""`tflq batch`: many recipes, as make would do them."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tflq.cli.boundary import boundary
from tflq.cli.options import ExistingFile, File, Seconds, option_of, pass_options_of
from tflq.errors import RecipeError

if TYPE_CHECKING:
    from tflq.batch import Batch, BatchOptions
    from tflq.batch.baseline import SummaryBaseline
    from tflq.batch.summary import BatchSummary
    from tflq.cli.live import BatchDisplay

UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
HOUR = 3600.0
Format = Literal["rich", "plain", "json"]


class _Bytes(click.ParamType[int]):
    """A number of bytes, such as 4GB."""

    name = "SIZE"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)B?", str(value))
        if not found:
            self.fail(f"{value!r} is not a size, such as 500MB or 4GB", parameter, context)
        return int(float(found[1]) * UNITS[found[2]])


class _Tolerance(click.ParamType[tuple[str, float]]):
    """KEY=VALUE of what may get worse."""

    name = "KEY=VALUE"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, float]:
        key, _, number = str(value).partition("=")
        try:
            return key, float(number)
        except ValueError:
            self.fail(f"{value!r} should read KEY=VALUE, such as metric=0.01", parameter, context)


@dataclass
class BatchCommandOptions:
    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    jobs: int | None = None
    timeout: float = HOUR
    memory: int | None = None
    retries: int = 0
    force: bool = False
    fail_fast: bool = False
    dry_run: bool = False
    scheduler: str | None = None
    format: Format | None = None
    summary: Path | None = None
    junit: Path | None = None
    depfile: Path | None = None
    baseline: Path | None = None
    tolerance: tuple[tuple[str, float], ...] = ()


_option = partial(option_of, BatchCommandOptions)
Positive = click.IntRange(min=1)


@click.command()
@click.argument("paths", metavar="ZOO|DIR|RECIPE...", nargs=-1, required=True, type=File)
@_option("--only", metavar="GLOB", help="Make only the models whose names match; may be repeated.")
@_option("-n", "--dry-run", help="List what would be made and why, and make nothing.")
@_option("--force", help="Make all, up to date or not.")
@_option(
    "-j", "--jobs", metavar="N", type=Positive, help="Models at a time; by default as many as there are processors."
)
@_option("--timeout", metavar="SECONDS", type=Seconds, help="Stop a model that takes longer.")
@_option(
    "--memory", type=_Bytes(), help="Stop a model that takes more, such as 4GB; by default its share of what is free."
)
@_option(
    "--retries", metavar="N", type=click.IntRange(min=0), help="Try a model again whose worker died or was stopped."
)
@_option("--fail-fast", help="Stop at the first model that fails.")
@click.option(
    "--keep-going", is_flag=True, expose_value=False, help="Make the others where a model fails: the default."
)
@_option("--scheduler", metavar="ADDRESS", help="Make them on a Dask cluster, such as tcp://host:8786, or `local`.")
@_option("--set", "overrides", metavar="KEY=VALUE", help="Override a key of every recipe; may be repeated.")
@_option(
    "--format", type=click.Choice(["rich", "plain", "json"]), help="Of the log: a table that lives, lines, JSON lines."
)
@_option(
    "--summary", metavar="DIR", type=File, help="Write summary.json and summary.md there; by default into ZOO's output."
)
@_option("--junit", metavar="FILE", type=File, help="Write JUnit XML: a test case for each variant and each gate.")
@_option("--depfile", metavar="FILE", type=File, help="Write what each report.json depends on, for make to include.")
@_option(
    "--baseline", metavar="OLD.json", type=ExistingFile, help="Fail where a variant is worse than in that summary.json."
)
@_option(
    "--tolerance", type=_Tolerance(), help="How much worse: size, metric, sqnr_db, float_ops; such as metric=0.01."
)
@pass_options_of(BatchCommandOptions)
def batch(options: BatchCommandOptions, paths: tuple[Path, ...]) -> None:
    """Make whatever is not up to date, of a zoo or of many recipes.

    A model whose source, data, recipe and versions are as they were is skipped. One that fails is reported, and the
    others are made. In the end summary.md and summary.json say where each variant of each model stands.
    """
    from tflq.batch import chosen, collect

    with boundary():
        old = _baseline(options)
        there = [path.absolute() for path in paths] if options.scheduler else paths
        found = chosen(collect(there, options.overrides), options.only)
        if options.dry_run:
            sys.exit(_dry_run(found, options.force))
        summary = _make(found, options, old)
    sys.exit(summary.exit_code)


def _baseline(options: BatchCommandOptions) -> SummaryBaseline | None:
    """Read before anything is made, since the new summary may take its place."""
    from tflq.batch import baseline

    if options.baseline is None:
        if options.tolerance:
            raise RecipeError("--tolerance says how much worse than --baseline, which is not given")
        return None
    return baseline.load(options.baseline, options.tolerance, is_whole=not options.only)


def _dry_run(found: Batch, force: bool) -> int:
    """Say what would be made and why; the exit code."""
    from tflq.batch import plan
    from tflq.batch.plan import Work

    code = 0
    for work in plan(found, force):
        if not isinstance(work, Work):
            code = max(code, work.exit_code)
            for line in work.why.splitlines():
                click.echo(f"{work.name}: cannot be made: {line}")
        elif work.why:
            names = ", ".join(variant.name for variant in work.recipe.variants)
            click.echo(f"{work.name}: {names} in {work.recipe.output}: {work.why}")
        else:
            click.echo(f"{work.name}: up to date")
    return code


def _make(found: Batch, options: BatchCommandOptions, old: SummaryBaseline | None) -> BatchSummary:
    from dataclasses import replace

    from tflq.batch import make

    with _display(options.format) as display:
        summary = make(found, _orders(options), display)
    if old:
        summary = replace(summary, regressions=tuple(old.regressions(summary)))
    _write(summary, found, options)
    display.conclude(summary, (options.summary or found.output) / "summary.md")
    return summary


def _orders(options: BatchCommandOptions) -> BatchOptions:
    from tflq.batch import BatchOptions
    from tflq.worker import processors

    return BatchOptions(
        jobs=options.jobs or processors(),
        seconds=options.timeout,
        memory_bytes=options.memory,
        retries=options.retries,
        force=options.force,
        fail_fast=options.fail_fast,
        scheduler=options.scheduler,
    )


def _display(format: Format | None) -> BatchDisplay:
    from tflq.cli.live import JsonLinesDisplay, LiveTable, PlainDisplay

    match format or ("rich" if sys.stderr.isatty() else "plain"):
        case "json":
            return JsonLinesDisplay()
        case "rich":
            return LiveTable()
        case _:
            return PlainDisplay()


def _write(summary: BatchSummary, found: Batch, options: BatchCommandOptions) -> None:
    """summary.json and summary.md, and what else was asked for."""
    from importlib import metadata

    from tflq.batch import depfile, files, junit
    from tflq.batch.page import to_markdown
    from tflq.batch.summary import to_json

    folder = options.summary or found.output
    files.write(folder / "summary.json", to_json(summary, metadata.version("tflq")))
    files.write(folder / "summary.md", to_markdown(summary))
    if options.junit:
        files.write(options.junit, junit.to_xml(summary))
    if options.depfile:
        files.write(options.depfile, depfile.to_make(found))
