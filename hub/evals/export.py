"""A run for continuous integration: JUnit's XML, which every CI server reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.evals.report import CaseResult, Summary

#: What XML 1.0 cannot hold.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(suite: str, target: str, summary: Summary, results: Sequence[CaseResult]) -> bytes:
    """The results of a run: a wrong answer is a failure, one that never came or could not be scored an error."""
    from xml.etree import ElementTree as Xml  # noqa: PLC0415 - only an export wants it

    name = _text(f"{suite} ({target})")
    counts = {
        "tests": str(len(results)),
        "failures": str(sum(one.outcome == "failed" for one in results)),
        "errors": str(sum(one.outcome in ("error", "ungraded") for one in results)),
        "time": f"{sum(one.duration_ms for one in results) / 1000:.3f}",
    }
    root = Xml.Element("testsuites", {"name": "evals", **counts})
    made = Xml.SubElement(root, "testsuite", {"name": name, **counts})
    facts = Xml.SubElement(made, "properties")
    for fact, value in (("passRate", summary.pass_rate), ("cost", summary.cost + summary.scorer_cost), ("target", target)):
        Xml.SubElement(facts, "property", {"name": fact, "value": _text(str(value))})
    for one in results:
        took = f"{one.duration_ms / 1000:.3f}"
        case = Xml.SubElement(made, "testcase", {"classname": name, "name": _text(one.case_name), "time": took})
        if one.outcome == "passed":
            continue
        kind, type_, words = _fault(one)
        fault = Xml.SubElement(case, kind, {"type": type_, "message": _text(words)})
        fault.text = _text(
            f"{one.passes} of {one.trials} trials passed\nexpected: {one.details.expected}\nanswer: {one.details.actual_snippet}"
        )
    Xml.indent(root)
    return Xml.tostring(root, encoding="utf-8", xml_declaration=True)


def _fault(one: CaseResult) -> tuple[str, str, str]:
    """How a case that did not pass is written: element, type, message."""
    if one.outcome == "failed":
        return "failure", one.details.strategy, one.details.reason
    return "error", one.outcome, one.error or "no answer"


def _text(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
