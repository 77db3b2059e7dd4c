"""summary.html: one row a model, the variants over the zoo, changes since the baseline, and the page in a browser."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import chromium, faults, needs_browser, new_context

from tflq.batch import baseline, zoo_chart
from tflq.batch.changes import changes
from tflq.batch.html_page import PageContext, to_html
from tflq.batch.summary import BatchSummary, Model, Regression, VariantRow, failed, to_json
from tflq.batch.zoo_figures import model_verdict, zoo_files, zoo_front, zoo_variants
from tflq.batch.zoo_table import FIRST_ROWS
from tflq.errors import DatasetError

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def row(
    name: str, ratio: float | None, sqnr_db: float | None, status: str = "ok", drop: float | None = None
) -> VariantRow:
    why = "" if status == "ok" else f"max_metric_drop is {drop}, but the limit is 0.02"
    return VariantRow(
        name=name,
        mode=name,
        status=status,
        exit_code=0 if status == "ok" else 1,
        why=why,
        size_bytes=None if ratio is None else round(100_000 * ratio),
        size_ratio=ratio,
        metric=None if drop is None else "top1",
        value=None if drop is None else 0.9 - drop,
        drop=drop,
        sqnr_db=sqnr_db,
        is_measured=ratio is not None,
    )


def model(name: str, *rows: VariantRow) -> Model:
    return Model(name, "made", "", max(each.exit_code for each in rows), rows=rows)


SMALL = model("small", row("int8", 0.25, 20.0, drop=0.01), row("int16x8", 0.3, 50.0, drop=0.0))
LARGE = model("large", row("int8", 0.26, 12.0, "failed", drop=0.05), row("float32", 1.0, None, drop=0.0))
BETTER = model("better", row("int8", 0.28, 55.0, drop=-0.01), row("int16x8", 0.31, 40.0, drop=0.0))
LOST = failed("lost", DatasetError("data.npz: there is no such file"))
LAST = Model("last", "not reached", "another model failed, and --fail-fast was given", 0)
ZOO = BatchSummary((SMALL, LARGE, BETTER, LOST, LAST), 10.0)


class Rows(HTMLParser):
    """The texts of the cells of the table of models, row by row; and the addresses of links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self._is_inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        attributes = dict(attrs)
        self._is_inside |= attributes.get("id") == "zoo"
        if tag == "a":
            self.links.append(attributes["href"] or "")
        if self._is_inside and tag == "tr":
            self.rows.append([])
        if self._is_inside and tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_inside &= tag != "table"

    def handle_data(self, data: str) -> None:
        if self._is_inside and self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data.strip()


def page(summary: BatchSummary, folder: Path = Path(), told: dict[str, str] | None = None) -> Rows:
    return Rows(to_html(summary, PageContext(folder, told or {}, "0.1.0")))


def test_each_model_has_a_row() -> None:
    _, header, *rows = page(ZOO).rows
    assert header == ["model", "verdict", *["size", "SQNR", "drop"] * 3, "reason"]
    assert [cells[:2] for cells in rows] == [
        ["small", "✓ ok"],
        ["large", "! failed"],
        ["better", "✓ ok"],
        ["lost", "✕ error"],
        ["last", "not reached"],
    ]
    assert rows[0][2:] == ["25.0 kB", "20.0", "+0.0100", "30.0 kB", "50.0", "+0.0000", "", "", "", ""]
    assert rows[1][2:5] == ["26.0 kB !", "12.0", "+0.0500"]
    assert rows[1][8:10] == ["100.0 kB", "equal"]
    assert [cells[-1] for cells in rows[1:]] == [
        "int8: max_metric_drop is 0.05, but the limit is 0.02",
        "",
        "data.npz: there is no such file",
        "another model failed, and --fail-fast was given",
    ]


def test_columns_without_figures_are_left_out() -> None:
    alone = model("net", replace(row("int8", 0.25, 20.0), sqnr_db=None, is_measured=False))
    assert page(BatchSummary((alone,), 1.0)).rows[1] == ["model", "verdict", "size", "reason"]
    nothing = page(BatchSummary((LOST,), 1.0)).rows
    assert nothing[1:] == [["model", "verdict", "reason"], ["lost", "✕ error", "data.npz: there is no such file"]]


def test_rare_variants_share_a_column() -> None:
    many = model("many", *(row(f"v{number}", 0.3, 30.0) for number in range(8)))
    _, header, cells = page(BatchSummary((many,), 1.0)).rows
    assert header[-2:] == ["other variants", "reason"]
    assert cells[-2] == "v6 ok, v7 ok"


def test_rows_link_to_reports_that_exist(tmp_path: Path) -> None:
    for name, report in (("a b", "report.md"), ("c", "report.html"), ("d", "other.txt")):
        (tmp_path / "build" / name).mkdir(parents=True)
        (tmp_path / "build" / name / report).touch()
    models = [replace(SMALL, name=name, output=str(tmp_path / "build" / name)) for name in ("a b", "c", "d")]
    links = page(BatchSummary(tuple(models), 1.0), tmp_path / "summary").links
    assert links == ["../build/a%20b/report.md", "../build/c/report.html"]


def test_front_is_of_files_that_are_ok() -> None:
    front = zoo_front(zoo_files(ZOO.models))
    assert [(each.model, each.row.name) for each in front] == [("small", "int8"), ("better", "int8")]
    beaten = zoo_front(zoo_files([LARGE]))
    assert beaten == []


def test_variants_over_the_zoo() -> None:
    int8, int16x8, float32 = zoo_variants(ZOO)
    assert (int8.name, int8.files, int8.verdicts, int8.unbeaten) == ("int8", 3, {"ok": 2, "failed": 1}, 2)
    assert int8.ratio == pytest.approx(0.26)
    assert int8.sqnr_db == 20.0
    assert int8.lowest is not None
    assert int8.lowest.model == "large"
    assert int8.largest_drop == (0.05, "large")
    assert (int16x8.files, int16x8.unbeaten) == (2, 1)
    assert (float32.lowest, float32.unbeaten) == (None, 0)


def test_verdict_of_a_model_is_its_most_serious_one() -> None:
    verdicts = [model_verdict(model("net", *(row(s, 0.3, 30.0, s) for s in each))) for each in
                (("ok", "poor"), ("broken", "failed"), ("error", "ok"), ("ok", "unheard of"))]  # fmt: skip
    assert verdicts == ["poor", "broken", "error", "unheard of"]


def test_changes_since_the_baseline(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    before = replace(ZOO, models=(replace(SMALL, rows=(row("int8", 0.5, 19.0, "failed", drop=0.03),)), LARGE))
    old.write_text(to_json(before, "0.1.0"))
    told = changes(ZOO, baseline.load(old, (), is_whole=False))
    assert told == {
        "small": "int8: failed → ok, size -50.0%, top1 +0.0200, SQNR +1.0 dB; int16x8: new",
        "better": "new",
    }
    header, *rows = page(ZOO, told=told).rows[1:]
    assert header[-2] == "since the baseline"
    assert [cells[-2] for cells in rows] == [told["small"], "", "new", "", ""]


def test_regressions_come_first() -> None:
    text = to_html(
        replace(ZOO, regressions=(Regression("small", "int8", "larger: 2 kB, was 1 kB"),)), PageContext(Path())
    )
    assert re.findall(r"<h2[^>]*>(\w+)", text)[0] == "Regressions"
    assert "small int8: larger: 2 kB, was 1 kB" in text


def test_names_are_data() -> None:
    hostile = replace(SMALL, name=NASTY, rows=(replace(SMALL.rows[0], name=NASTY, status="failed", why=NASTY),))
    text = to_html(BatchSummary((hostile,), 1.0, (Regression(NASTY, NASTY, NASTY),)), PageContext(Path()))
    parsed = Rows(text)
    assert parsed.tags.count("script") == 1
    assert "img" not in parsed.tags
    assert parsed.rows[2][0] == NASTY


def test_page_is_stable() -> None:
    assert to_html(ZOO, PageContext(Path())) == to_html(ZOO, PageContext(Path()))


def many(count: int) -> BatchSummary:
    models = [model(f"net-{n}", row("int8", 0.25 + n / 500, 60 - n / 20, drop=n / 10000)) for n in range(count)]
    return replace(ZOO, models=(*ZOO.models, *models))


def test_many_files_are_counted_in_cells() -> None:
    text = to_html(many(FIRST_ROWS), PageContext(Path()))
    counted = [int(count) for count in re.findall(r"<title>(\d+) files</title>", text)]
    assert sum(counted) == FIRST_ROWS + 5
    assert text.count('<tr><th scope="row">') >= FIRST_ROWS + 5


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("dots", [zoo_chart.MAX_DOTS, 2])
def test_page_has_no_faults_in_a_browser(dots: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few dots, the chart counts the files in cells, as for a large zoo."""
    monkeypatch.setattr(zoo_chart, "MAX_DOTS", dots)
    told = {"small": "int8: size -50.0%"}
    for name, summary in (("zoo", ZOO), ("lost", BatchSummary((LOST,), 1.0))):
        file = tmp_path / f"{name}.html"
        file.write_text(
            to_html(replace(summary, regressions=(Regression("a", "b", "c"),)), PageContext(tmp_path, told))
        )
        assert faults(file) == []


@pytest.mark.slow
@needs_browser
def test_rows_are_sorted_and_filtered_in_a_browser(tmp_path: Path) -> None:
    file = tmp_path / "zoo.html"
    file.write_text(to_html(many(FIRST_ROWS), PageContext(tmp_path)))
    with chromium() as browser:
        tab = new_context(browser).new_page()
        tab.goto(file.as_uri())
        names = "() => [...document.querySelectorAll('#zoo tbody th')].map(each => each.textContent)"
        assert len(tab.evaluate(names)) == FIRST_ROWS
        tab.click("#more")
        assert len(tab.evaluate(names)) == FIRST_ROWS + 5
        tab.click("#zoo .columns th:nth-child(3) button")
        assert tab.evaluate(names)[:2] == ["small", "net-0"]
        tab.click("#zoo .columns th:nth-child(3) button")
        assert tab.evaluate(names)[0] == f"net-{FIRST_ROWS - 1}"
        assert tab.evaluate(names)[-2:] == ["lost", "last"], "rows without a size come last in either order"
        tab.select_option(".tools select", "failed")
        assert tab.evaluate(names) == ["large"]
        tab.select_option(".tools select", "")
        tab.fill(".tools input", "NET-49")
        assert len(tab.evaluate(names)) == 11
        without = new_context(browser, java_script_enabled=False).new_page()
        without.goto(file.as_uri())
        assert without.locator("#zoo tbody tr:visible").count() == FIRST_ROWS + 5
