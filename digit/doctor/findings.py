"""The table of the doctor's findings, the same for every area.

The other modules of `digit.doctor` make `Finding`s; `digit doctor` prints them by
`format_findings` and writes `Finding.record`s as JSON.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

Area = Literal["data", "predictions", "run", "weights", "environment"]
Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")  # the worst first


class Finding(NamedTuple):
    """One thing that is wrong, or worth knowing.

    Attributes:
        area: What was looked at.
        where: The split, run, file or folder that it is about.
        severity: "error": it will fail or give wrong numbers; "warning": it may; "note":
            worth knowing.
        finding: What it is, in words.
        count: How many frames, records, files or lines.
        example: One of them.
        hint: What to do, as a command where one does it.
        known_issue: A public report of the same.
        is_settled: Whether nothing is left to do, as for frames on an exclude list.
        details: What only this area has, by name; plain values.
    """

    area: Area
    where: str
    severity: Severity
    finding: str
    count: int = 1
    example: str = ""
    hint: str = ""
    known_issue: str = ""
    is_settled: bool = False
    details: Mapping[str, Any] = {}

    def record(self) -> dict[str, Any]:
        """The finding as a flat JSON object, its details beside the rest."""
        plain = self._asdict()
        details = plain.pop("details")
        return {**plain, **details}

    def sentence(self) -> str:
        """The finding and what to do, in a line."""
        example = f" ({self.example})" if self.example else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.where}: {self.finding}{example}{hint}"


def is_serious(findings: Sequence[Finding]) -> bool:
    """Whether there are errors that are not settled."""
    return any(found.severity == "error" and not found.is_settled for found in findings)


def format_findings(findings: Sequence[Finding]) -> str:
    """Findings as text: a table, then what to do about its errors and warnings."""
    if not findings:
        return "nothing is found"
    # 1. The table, the worst of each place first
    rows = []
    for found in sorted(findings, key=_rank):
        share = found.details.get("share")
        row = {
            "area": found.area,
            "where": found.where,
            "severity": found.severity,
            "finding": found.finding,
            "count": f"{found.count:,}",
            "share": "" if share is None else f"{share:.2%}",
            "settled": "yes" if found.is_settled else "",
        }
        rows.append(row)
    table = pd.DataFrame(rows)
    # Columns that are empty throughout say nothing.
    table = table.loc[:, (table != "").any()]
    lines = [table.to_string(index=False)]

    # 2. What to do
    for found in sorted(findings, key=_rank):
        if found.severity == "note":
            continue
        example = f", as in {found.example}" if found.example else ""
        known = f" Known as {found.known_issue}." if found.known_issue else ""
        lines.append(f"\n{found.where}: {found.finding}{example}.{known}")
        if found.hint:
            lines.append(f"  To do: {found.hint}")
    return "\n".join(lines)


def _rank(found: Finding) -> tuple:
    """Places in the order of their names, the worst findings of each first."""
    return found.area, found.where, SEVERITIES.index(found.severity)
