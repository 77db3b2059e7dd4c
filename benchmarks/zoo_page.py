"""The page of a large zoo: how large it is, how long it takes to write, and how long a browser takes to show it."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from tflq.batch.html_page import PageContext, to_html
from tflq.batch.summary import BatchSummary, Model, VariantRow

VARIANTS = {"float16": 0.5, "dynamic": 0.27, "int8": 0.27, "int16x8": 0.29}
"""The variants of each model, and about their size ratios."""
SHOWN = """() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"""
"""The milliseconds from the start of loading until the page is drawn."""
CLICK = """selector => {
  const button = document.querySelector(selector), started = performance.now();
  button.click();
  document.body.offsetHeight;  // lays the page out
  return performance.now() - started;
}"""
"""The milliseconds until the page is laid out after a click."""


def summary(models: int) -> BatchSummary:
    """A zoo of so many models with figures from a random generator."""
    random = np.random.default_rng(0)
    return BatchSummary(tuple(_model(number, random) for number in range(models)), 3600.0)


def _model(number: int, random: np.random.Generator) -> Model:
    size = float(random.lognormal(14, 1.5))
    rows = []
    for name, ratio in VARIANTS.items():
        share, sqnr_db, drop = ratio * random.uniform(0.95, 1.3), random.normal(35, 10), random.normal(0.005, 0.01)
        status = "ok" if drop < 0.02 else "failed"
        rows.append(
            VariantRow(
                name=name,
                mode=name,
                status=status,
                exit_code=0 if status == "ok" else 1,
                why="" if status == "ok" else f"max_metric_drop is {drop:.6g}, but the limit is 0.02",
                size_bytes=int(size * share),
                size_ratio=share,
                metric="top1",
                value=0.9 - drop,
                drop=drop,
                sqnr_db=sqnr_db,
                is_measured=True,
                agreement=0.99,
                latency_ms=float(random.lognormal(0, 1)),
                float_ops=0,
            )
        )
    return Model(
        f"family-{number % 40}/model-{number}", "made", "", max(row.exit_code for row in rows), rows=tuple(rows)
    )


def report(models: int, runs: int) -> list[str]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("there is no browser: install the package chromium")
    started = time.perf_counter()
    text = to_html(summary(models), PageContext(Path()))
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "summary.html"
        page.write_text(text, encoding="utf-8")
        timed = [_timed(chromium, page) for _ in range(runs)]
    shown, ordered, more = (statistics.median(times) / 1000 for times in zip(*timed, strict=True))
    return [
        f"## Page of a zoo of {models:,} models, {len(VARIANTS)} variants each",
        "",
        "| size | written in | shown after | sorted in | 2,000 more rows shown in |",
        "| --- | --- | --- | --- | --- |",
        f"| {len(text.encode()) / 1e6:.1f} MB | {seconds:.1f} s | {shown:.1f} s | {ordered:.2f} s | {more:.1f} s |",
    ]


def _timed(chromium: str, page: Path) -> tuple[float, float, float]:
    """Return the milliseconds until the page is shown, to sort its rows by size, and to show 2,000 more."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(page.as_uri())
        shown = float(tab.evaluate(SHOWN))
        ordered, more = (float(tab.evaluate(CLICK, at)) for at in ("#zoo .columns th:nth-child(3) button", "#more"))
        browser.close()
    return shown, ordered, more
