"""junit.xml, written by the parent, so that a killed child still gives a valid file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from penstock.conformance.requirements import AREAS
from penstock.conformance.verdict import Judged, RunVerdict, Verdict

__all__ = ["junit"]

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(verdicts: Sequence[RunVerdict]) -> bytes:
    """A test suite for each bridge, a test case for each requirement."""
    root = ET.Element("testsuites", name="bridge-conformance")
    for verdict in verdicts:
        cases = [item for item in verdict.requirements if item.verdict is not Verdict.NOT_SELECTED]
        suite = ET.SubElement(root, "testsuite", name=_clean(verdict.run.name), time=f"{verdict.run.seconds}")
        counts = {"failure": 0, "error": 0, "skipped": 0}
        if verdict.run.problem:
            case = ET.SubElement(suite, "testcase", classname="adapter", name="smoke gate")
            ET.SubElement(case, "error", message=_clean(verdict.run.problem))
            counts["error"] += 1
        for item in cases:
            tag = _case(suite, verdict, item)
            if tag:
                counts[tag] += 1
        suite.set("tests", str(len(cases) + bool(verdict.run.problem)))
        suite.set("failures", str(counts["failure"]))
        suite.set("errors", str(counts["error"]))
        suite.set("skipped", str(counts["skipped"]))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _case(suite: ET.Element, verdict: RunVerdict, item: Judged) -> str:
    requirement = item.requirement
    spent = sum(result.ms for result in item.results) / 1000
    name = _clean(f"{requirement.id}[{verdict.run.name}] {requirement.sentence}")
    case = ET.SubElement(suite, "testcase", classname=AREAS[requirement.area], name=name, time=f"{spent:.3f}")
    properties = ET.SubElement(case, "properties")
    ET.SubElement(properties, "property", name="requirement", value=requirement.id)
    ET.SubElement(properties, "property", name="verdict", value=item.verdict.value)
    if item.verdict is Verdict.PASS:
        return ""
    worst = item.worst
    if item.verdict.failed and worst is not None:
        tag = "error" if item.verdict is Verdict.ERROR else "failure"
        found = ET.SubElement(case, tag, message=_clean(f"expected {worst.expected}; actual: {worst.actual}"))
        found.text = _clean("\n".join(worst.witness[-40:]))
        return tag
    reason = item.reason or (worst.actual if worst else "")
    ET.SubElement(case, "skipped", message=_clean(f"{item.verdict.value}: {reason}"))
    return "skipped"


def _clean(text: str) -> str:
    return _NOT_XML.sub("?", text)
