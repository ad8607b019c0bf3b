"""The doctor for data sets, and for predictions of their frames.

`digit.data.health` and `digit.evaluation.prediction_doctor` do the work; here their
results become rows of the doctor's table. `digit doctor --root` calls these functions.
"""

from pathlib import Path

import pandas as pd

from digit.data.health import check
from digit.doctor.findings import Finding
from digit.evaluation.ground_truth import RootDepth
from digit.evaluation.prediction_doctor import Mistake, examine_predictions


def examine_data(dataset_dir: Path | str) -> list[Finding]:
    """Look for faults in a data set, its pictures and part masks included.

    Frames that cannot be used are put onto an exclude list.

    Raises:
        ValueError, FileNotFoundError, OSError: As `digit.data.health.check`.
    """
    return findings_of(check(dataset_dir, examine_pixels=True))


def findings_of(report: pd.DataFrame) -> list[Finding]:
    """The rows of a report of `digit.data.health.check` as findings."""
    findings = []
    for row in report.itertuples():
        details = {"share": float(row.share), "worst_camera": row.worst_camera}
        found = Finding(
            area="data",
            where=row.split,
            severity=row.severity,
            finding=row.finding,
            count=int(row.frames),
            example=row.example,
            hint=row.hint,
            known_issue=row.known_issue,
            is_settled=bool(row.excluded),
            details=details,
        )
        findings.append(found)
    return findings


def examine_predictions_file(
    dataset_dir: Path | str,
    predictions: Path,
    split: str | None = None,
    root_depth: RootDepth = "gt",
) -> list[Finding]:
    """Look for the usual mistakes in a file of predictions.

    Args, Raises:
        As `digit.evaluation.prediction_doctor.examine_predictions`.
    """
    mistakes = examine_predictions(
        dataset_dir, predictions, split=split, root_depth=root_depth
    )
    return [_prediction_finding(predictions, mistake) for mistake in mistakes]


def _prediction_finding(path: Path, mistake: Mistake) -> Finding:
    """A mistake as a row of the table."""
    return Finding(
        area="predictions",
        where=str(path),
        severity="error",
        finding=mistake.what,
        example=mistake.numbers(),
        hint=mistake.remedy,
        details={
            "metric": mistake.metric,
            "before": mistake.before,
            "after": mistake.after,
        },
    )
