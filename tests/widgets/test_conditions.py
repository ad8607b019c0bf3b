"""Conditions of the failure browser: what they find, and how faults are explained."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digit.widgets.conditions import holds


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "mpjpe": [10.0, 20.0, np.nan, 40.0],
            "hidden": [0.1, 0.5, 0.9, np.nan],
            "camera": ["400008", "400012", "400008", "41"],
            "hand_type": ["left", "right", "interacting", "interacting"],
            "capture": [0, 1, 0, 1],
            "note": ["", "interacting", "", ""],
        }
    )


FINDS = {
    "": [0, 1, 2, 3],
    "mpjpe > 15": [1, 3],
    "10 < mpjpe <= 40": [1, 3],
    "mpjpe > 15 and hidden < 0.6": [1],
    "mpjpe > 15 & hidden < 0.6": [1],
    "(mpjpe > 15) & ~(hidden < 0.6)": [3],
    "mpjpe < 15 or hand_type == 'right'": [0, 1],
    "mpjpe < 15 | hand_type == 'right'": [0, 1],
    "not hand_type == 'interacting'": [0, 1],
    "hand_type = 'left'": [0],
    "mpjpe != mpjpe": [2],
    "mpjpe.isna()": [2],
    "mpjpe >= mpjpe.quantile(0.95)": [3],
    "mpjpe - 10 * hidden > 12": [1],
    "camera in [400008]": [0, 2],
    "camera == 400008": [0, 2],
    "camera == '400008'": [0, 2],
    "camera not in ['400008', 41]": [1],
    "camera > 400010": [1],
    "capture == '1'": [1, 3],
    "capture in ['1']": [1, 3],
    "hand_type.str.contains('inter')": [2, 3],
    "hand_type in ['left', 'right']": [0, 1],
    "-mpjpe < -15": [1, 3],
}


@pytest.mark.parametrize("condition", FINDS)
def test_what_is_found(table, condition):
    assert np.flatnonzero(holds(table, condition)).tolist() == FINDS[condition]


INVALID = {
    "speed > 3": "there is no column “speed”",
    "mpje > 3": "did you mean mpjpe?",
    "hand_type == interacting": "did you mean hand_type == 'interacting', in quotes?",
    "mpjpe >": "incomplete or no condition",
    "mpjpe": "no condition",
    "mpjpe + 1": "no condition",
    "mpjpe and hidden > 1": "“mpjpe” is no condition",
    "1": "no condition",
    "1 < 2": "compares no column",
    "'a'": "no condition",
    "@x > 2": "incomplete or no condition",
    "mpjpe > 'high'": "mpjpe holds numbers, and “high” is none",
    "hand_type + 1 > 2": "“hand_type” is no number",
    "mpjpe == [1, 2]": "a list is only compared with “in”",
    "mpjpe in 3": "write column in [value, …]",
    "__import__('os').system('true')": "is not one of",
    "mpjpe.to_csv('x')": "“to_csv” is not one of",
    "[x for x in mpjpe]": "cannot be used here",
    "mpjpe > 9 ** 9 ** 9 ** 9": "a number in it is too large",
    "(" * 500 + "mpjpe" + ")" * 500: "incomplete or no condition",
}


@pytest.mark.parametrize("condition", INVALID)
def test_what_is_wrong_is_explained(table, condition):
    with pytest.raises(ValueError, match="Filter") as error:
        holds(table, condition)
    assert INVALID[condition] in str(error.value)
    assert condition in str(error.value)


@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_a_value_error(table, text):
    try:
        assert len(holds(table, text)) == len(table)
    except ValueError as error:
        assert "Filter" in str(error)
