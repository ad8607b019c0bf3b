"""The table that closes every chapter: what is expected, and what was measured.

Each chapter's `checks` makes its rows and returns this table.
"""

from collections.abc import Iterable

import pandas as pd


def expected_and_measured(
    checks: Iterable[tuple[str, object, object, bool]],
) -> pd.DataFrame:
    """The table that closes a chapter.

    Args:
        checks: For each claim its text, the expected value, the measured value, and
            whether they agree.

    Returns:
        One row per claim.
    """
    return pd.DataFrame(checks, columns=["claim", "expected", "measured", "ok"])
