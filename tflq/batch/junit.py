"""Summary → JUnit XML: a suite for each model, a test case for each variant, each gate and each comparison."""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from tflq.batch.summary import BatchSummary, Model, VariantRow

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_xml(summary: BatchSummary) -> str:
    root = Element("testsuites", name="tflq batch", time=f"{summary.seconds:.3f}")
    for model in summary.models:
        suite = SubElement(root, "testsuite", name=model.name, time=f"{model.seconds:.3f}")
        _fill(suite, model)
        for regression in summary.regressions:
            if regression.model == model.name:
                _add(suite, model, f"{regression.variant} against baseline", "failure", regression.what)
        _count(suite)
    _count(root)
    ElementTree.indent(root)
    text = NOT_XML.sub("\N{REPLACEMENT CHARACTER}", ElementTree.tostring(root, encoding="unicode"))
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _fill(suite: Element, model: Model) -> None:
    if not model.rows:
        _add(suite, model, "model", "error" if model.state == "failed" else "skipped", model.why)
    for row in model.rows:
        kind, why = _error(row)
        case = _add(suite, model, row.name, kind, why)
        case.set("time", f"{row.seconds:.3f}")
        if row.status == "poor":
            SubElement(case, "system-out").text = f"poor: {row.why}"
        for gate in row.gates:
            _add(suite, model, f"{row.name} {gate.name}", "" if gate.passed else "failure", gate.in_words)


def _error(row: VariantRow) -> tuple[str, str]:
    """Return the kind and the text of the variant's error; a failed gate has its own test case."""
    if row.status == "error":
        return "error", row.why
    return ("failure", row.why) if row.status == "broken" else ("", "")


def _add(suite: Element, model: Model, name: str, kind: str, why: str) -> Element:
    case = SubElement(suite, "testcase", classname=model.name, name=name)
    if kind:
        text = why
        SubElement(case, kind, message=text.splitlines()[0] if text else "").text = text
    return case


def _count(element: Element) -> None:
    element.set("tests", str(len(element.findall(".//testcase"))))
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(len(element.findall(f".//{kind}"))))
