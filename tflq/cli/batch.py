"""`tflq batch`: convert the models of many recipes, but only those that are not up to date."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tflq.cli.boundary import boundary, say
from tflq.cli.options import ExistingFile, File, Seconds, WrittenFile, option_of, pass_options_of
from tflq.errors import RecipeError

if TYPE_CHECKING:
    from tflq.batch import Batch, BatchOptions
    from tflq.batch.baseline import SummaryBaseline
    from tflq.batch.summary import BatchSummary
    from tflq.cli.batch_lines import BatchDisplay

UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
HOUR = 3600.0
Format = Literal["rich", "plain", "json"]


class _Bytes(click.ParamType[int]):
    """A number of bytes, such as 4GB."""

    name = "SIZE"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?) ?([kMGT]?)B?", str(value))
        size = int(float(match[1]) * UNITS[match[2]]) if match else 0
        if size <= 0:
            self.fail(f"{value!r} is not a size; write a size such as 500MB or 4GB", parameter, context)
        return size


class _Tolerance(click.ParamType[tuple[str, float]]):
    """A tolerance of the comparison with a baseline, such as metric=0.01."""

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
    """The options of `tflq batch`."""

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
    refuses_code: bool = False
    baseline: Path | None = None
    tolerance: tuple[tuple[str, float], ...] = ()


_option = partial(option_of, BatchCommandOptions)
Positive = click.IntRange(min=1)


@click.command()
@click.argument("paths", metavar="ZOO|DIR|RECIPE...", nargs=-1, required=True, type=File)
@_option("--only", metavar="GLOB", help="Convert only the models whose names match GLOB. May be repeated.")
@_option("-n", "--dry-run", help="List the models that would be converted, with the reasons. Convert nothing.")
@_option("--force", help="Convert all models, even those that are up to date.")
@_option(
    "-j",
    "--jobs",
    metavar="N",
    type=Positive,
    help="The number of models to convert at a time. The default is the number of processors.",
)
@_option("--timeout", metavar="SECONDS", type=Seconds, help="Stop a model that takes longer.")
@_option(
    "--memory",
    type=_Bytes(),
    help="Stop a model that needs more memory than SIZE, such as 4GB. By default, the free memory is shared equally.",
)
@_option(
    "--retries",
    metavar="N",
    type=click.IntRange(min=0),
    help="Try a model again, up to N times, if its worker died or met a limit.",
)
@_option("--fail-fast", help="Stop at the first model that fails.")
@click.option(
    "--keep-going",
    is_flag=True,
    expose_value=False,
    help="Continue with the other models after a failure. This is the default.",
)
@_option(
    "--scheduler",
    metavar="ADDRESS",
    help="Convert on a Dask cluster. ADDRESS is the scheduler, such as tcp://host:8786, or `local`.",
)
@_option("--no-code", "refuses_code", help="Refuse recipes that name Python functions, so that no such code is run.")
@_option("--set", "overrides", metavar="KEY=VALUE", help="Override a key of every recipe. May be repeated.")
@_option(
    "--format",
    type=click.Choice(["rich", "plain", "json"]),
    help="The form of the log: a live table, plain lines or JSON lines.",
)
@_option(
    "--summary",
    metavar="DIR",
    type=WrittenFile,
    help="Write summary.json, summary.md and summary.html into DIR. The default is the output folder of ZOO.",
)
@_option(
    "--junit",
    metavar="FILE",
    type=WrittenFile,
    help="Write JUnit XML, with a test case for each variant and each gate.",
)
@_option(
    "--depfile", metavar="FILE", type=WrittenFile, help="Write the dependencies of each report.json as rules for make."
)
@_option(
    "--baseline",
    metavar="OLD.json",
    type=ExistingFile,
    help="Fail if a variant is worse than in OLD.json, an earlier summary.json.",
)
@_option(
    "--tolerance",
    type=_Tolerance(),
    help="How much worse than the baseline a variant may be, such as metric=0.01. KEY is size, metric, sqnr_db or"
    " float_ops. May be repeated.",
)
@pass_options_of(BatchCommandOptions)
def batch(options: BatchCommandOptions, paths: tuple[Path, ...]) -> None:
    """Convert the models of a zoo or of many recipes.

    A model is skipped if its source, data, recipe and package versions have not changed. If a model fails, it is
    reported, and the others are still converted. At the end, summary.md, summary.html and summary.json list every
    variant of every model.
    """
    from tflq.batch import collect, select, without_code

    with boundary():
        baseline = _baseline(options)
        locations = [path.absolute() for path in paths] if options.scheduler else paths
        models = select(collect(locations, options.overrides), options.only)
        if options.refuses_code:
            models = without_code(models)
        if options.dry_run:
            sys.exit(_dry_run(models, options.force))
        summary = _make(models, options, baseline)
    sys.exit(summary.exit_code)


def _baseline(options: BatchCommandOptions) -> SummaryBaseline | None:
    """Read the old summary first, because the new summary may replace the same file."""
    from tflq.batch import baseline

    if options.baseline is None:
        if options.tolerance:
            raise RecipeError("--tolerance needs --baseline: give the summary.json to compare with")
        return None
    return baseline.load(options.baseline, options.tolerance, is_whole=not options.only)


def _dry_run(models: Batch, force: bool) -> int:
    """Print the models that would be converted, with the reasons, and return the exit code."""
    from tflq.batch import plan
    from tflq.batch.plan import PlannedModel

    code = 0
    for work in plan(models, force):
        if not isinstance(work, PlannedModel):
            code = max(code, work.exit_code)
            for line in work.why.splitlines():
                say(f"{work.name}: cannot be converted: {line}")
        elif work.why:
            names = ", ".join(variant.name for variant in work.recipe.variants)
            say(f"{work.name}: {names} in {work.recipe.output}: {work.why}")
        else:
            say(f"{work.name}: up to date")
    return code


def _make(models: Batch, options: BatchCommandOptions, baseline: SummaryBaseline | None) -> BatchSummary:
    from dataclasses import replace

    from tflq.batch import make

    with _display(options.format) as display:
        summary = make(models, _batch_options(options), display)
    if baseline:
        summary = replace(summary, regressions=tuple(baseline.regressions(summary)))
    _write(summary, models, options, baseline)
    display.conclude(summary, (options.summary or models.output) / "summary.md")
    return summary


def _batch_options(options: BatchCommandOptions) -> BatchOptions:
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
    from tflq.cli.batch_lines import JsonLinesDisplay, PlainDisplay

    match format or ("rich" if sys.stderr.isatty() else "plain"):
        case "json":
            return JsonLinesDisplay()
        case "rich":
            from tflq.cli.live import LiveTable

            return LiveTable()
        case _:
            return PlainDisplay()


def _write(
    summary: BatchSummary, models: Batch, options: BatchCommandOptions, baseline: SummaryBaseline | None
) -> None:
    """Write summary.json, summary.md and summary.html, and the other files that the options name."""
    from importlib import metadata

    from tflq.batch import files
    from tflq.batch.changes import changes
    from tflq.batch.html_page import PageContext, to_html
    from tflq.batch.page import to_markdown
    from tflq.batch.summary import to_json

    folder = options.summary or models.output
    version = metadata.version("tflq")
    context = PageContext(folder, changes(summary, baseline) if baseline else {}, version)
    files.write(folder / "summary.json", to_json(summary, version))
    files.write(folder / "summary.md", to_markdown(summary))
    files.write(folder / "summary.html", to_html(summary, context))
    if options.junit:
        from tflq.batch import junit

        files.write(options.junit, junit.to_xml(summary))
    if options.depfile:
        from tflq.batch import depfile

        files.write(options.depfile, depfile.to_make(models))
