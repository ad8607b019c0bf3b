"""Conditions on the columns of a table, such as `mpjpe > 50 and hand_type == 'left'`.

The failure browser's filter box and its slices are such conditions. They are Python
expressions of which only comparisons, arithmetic and a few methods are understood;
nothing of them is executed. What is wrong is explained in words for the person who typed
it.
"""

import ast
import difflib
import io
import operator
import tokenize
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from pandas.api.types import is_bool_dtype, is_numeric_dtype

EXAMPLE = "mpjpe > 50 and hand_type == 'interacting'"

COMPARISONS: dict[type, Callable] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
ARITHMETIC: dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
METHODS = ("quantile", "mean", "median", "min", "max", "std", "abs", "isna", "notna")
TEXT_METHODS = ("contains", "startswith", "endswith")

# Words of other languages and their Python, where they stand by themselves
SPELLINGS = {"&": "and", "|": "or", "~": "not", "&&": "and", "||": "or", "=": "=="}


def holds(table: pd.DataFrame, condition: str) -> Bool[np.ndarray, "n"]:
    """In which rows of a table a condition holds.

    A missing value fulfils no comparison but `!=`. Numbers and text are compared
    sensibly: `camera in [400008]` finds the camera "400008".

    Args:
        table: The table; its columns' names are the names in the condition.
        condition: A condition; empty, it holds everywhere.

    Returns:
        Whether it holds, for each row.

    Raises:
        ValueError: If it is no condition on these columns; the message says what is
            wrong and, where it can, what was meant.
    """
    if not condition.strip():
        return np.ones(len(table), bool)

    # 1. Is it an expression at all?
    try:
        tree = ast.parse(_respelled(condition), mode="eval")
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError):
        hint = f"it is incomplete or no condition; write for example {EXAMPLE}"
        raise ValueError(f"Filter “{condition}”: {hint}.") from None

    # 2. Its value on these columns
    try:
        result = _Evaluator(table).value(tree.body)
        if not _is_condition(result):
            raise ValueError(f"this is no condition; write for example {EXAMPLE}")
    except ArithmeticError:
        hint = "a number in it is too large, or something is divided by zero"
        raise ValueError(f"Filter “{condition}”: {hint}.") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"Filter “{condition}”: {error}.") from None
    return np.array(result, bool)


def _respelled(condition: str) -> str:
    """`&`, `|`, `~` and `=` as `and`, `or`, `not` and `==`, as people write them."""
    # Spaces between all tokens do not change an expression.
    words = []
    depth = 0  # of parentheses: inside, = names an argument
    tokens = tokenize.generate_tokens(io.StringIO(condition.strip()).readline)
    for token in tokens:
        text = token.string
        depth += (text in "([") - (text in ")]") if text else 0
        if token.type == tokenize.OP and not (text == "=" and depth > 0):
            text = SPELLINGS.get(text, text)
        words.append(text)
    return " ".join(words).strip()


def _is_condition(value: Any) -> bool:
    return isinstance(value, pd.Series) and is_bool_dtype(value.dtype)


def _is_text(value: Any) -> bool:
    if isinstance(value, pd.Series):
        return not is_numeric_dtype(value.dtype)
    return isinstance(value, str)


class _Evaluator:
    """Values of the expressions of one condition."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table
        self.rules: dict[type, Callable] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.List: self._list,
            ast.Tuple: self._list,
            ast.BoolOp: self._logic,
            ast.UnaryOp: self._sign_or_not,
            ast.BinOp: self._arithmetic,
            ast.Compare: self._comparison,
            ast.Call: self._call,
        }

    def value(self, node: ast.expr) -> Any:
        """The value of an expression: a column, a number, a text or a list."""
        rule = self.rules.get(type(node))
        if rule is None:
            raise ValueError(f"“{ast.unparse(node)}” cannot be used here")
        return rule(node)

    def _constant(self, node: ast.Constant) -> bool | int | float | str:
        if not isinstance(node.value, bool | int | float | str):
            raise ValueError(f"“{ast.unparse(node)}” is neither a number nor a text")
        return node.value

    def _list(self, node: ast.List | ast.Tuple) -> list:
        return [self.value(element) for element in node.elts]

    def _name(self, node: ast.Name) -> pd.Series:
        if node.id in self.table:
            return self.table[node.id]
        raise ValueError(f"there is no column “{node.id}”{self._suggestion(node.id)}")

    def _suggestion(self, word: str) -> str:
        """What an unknown word may mean: a text of some column, or another column."""
        # A word without its quotes
        for name, values in self.table.items():
            if _is_text(values) and name != "note" and (values == word).any():
                return f"; did you mean {name} == '{word}', in quotes?"
        # A misspelt column
        near = difflib.get_close_matches(word, map(str, self.table), n=3, cutoff=0.6)
        if near:
            return f"; did you mean {' or '.join(near)}?"
        return ""

    def _condition(self, node: ast.expr) -> pd.Series:
        """A part of a condition, which must be a condition itself."""
        value = self.value(node)
        if not _is_condition(value):
            text = ast.unparse(node)
            raise ValueError(f"“{text}” is no condition; write for example {text} > 50")
        return value

    def _logic(self, node: ast.BoolOp) -> pd.Series:
        result = self._condition(node.values[0])
        for operand in node.values[1:]:
            if isinstance(node.op, ast.And):
                result = result & self._condition(operand)
            else:
                result = result | self._condition(operand)
        return result

    def _sign_or_not(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not):
            return ~self._condition(node.operand)
        value = self._number(node.operand)
        return -value if isinstance(node.op, ast.USub) else value

    def _number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if _is_text(value) or isinstance(value, list):
            raise ValueError(f"“{ast.unparse(node)}” is no number")
        return value

    def _arithmetic(self, node: ast.BinOp) -> Any:
        if type(node.op) not in ARITHMETIC:
            raise ValueError(f"“{ast.unparse(node)}” cannot be used here")
        left = self._number(node.left)
        right = self._number(node.right)
        if isinstance(node.op, ast.Pow) and not isinstance(left, pd.Series):
            left = float(left)  # a power of whole numbers could grow without end
        return ARITHMETIC[type(node.op)](left, right)

    def _comparison(self, node: ast.Compare) -> pd.Series:
        """A comparison, or several in a chain: 10 < mpjpe < 20."""
        result = None
        operands = [node.left, *node.comparators]
        pairs = zip(operands[:-1], node.ops, operands[1:], strict=True)
        for left, comparison, right in pairs:
            part = self._compare(self.value(left), comparison, self.value(right))
            if not isinstance(part, pd.Series):
                raise ValueError(f"“{ast.unparse(node)}” compares no column")
            result = part if result is None else result & part
        return result

    def _compare(self, left: Any, comparison: ast.cmpop, right: Any) -> Any:
        if isinstance(comparison, ast.In | ast.NotIn):
            found = self._is_in(left, right)
            return found if isinstance(comparison, ast.In) else ~found
        if isinstance(left, list) or isinstance(right, list):
            raise ValueError("a list is only compared with “in”")
        if type(comparison) not in COMPARISONS:
            raise ValueError("“is” compares no columns; write == or !=")
        left, right = _alike(left, right, ordered=not _is_equality(comparison))
        return COMPARISONS[type(comparison)](left, right)

    def _is_in(self, left: Any, right: Any) -> pd.Series:
        if not isinstance(left, pd.Series) or not isinstance(right, list):
            raise ValueError("write column in [value, …]")
        found = pd.Series(False, left.index)
        for element in right:
            values, value = _alike(left, element, ordered=False)
            found = found | (values == value)
        return found

    def _call(self, node: ast.Call) -> Any:
        """A method of a column: mpjpe.quantile(0.95), family.str.contains('clasp')."""
        if not isinstance(node.func, ast.Attribute):
            raise ValueError(f"“{ast.unparse(node.func)}” cannot be used here")

        # 1. The method, its owner and its arguments
        arguments = [self.value(argument) for argument in node.args]
        name = node.func.attr
        owner = node.func.value
        is_of_text = isinstance(owner, ast.Attribute) and owner.attr == "str"

        # 2. Of text
        if is_of_text and name in TEXT_METHODS:
            values = self.value(owner.value).astype(str)
            if len(arguments) != 1 or not isinstance(arguments[0], str):
                raise ValueError(f"give {name} one text in quotes")
            if name == "contains":
                return values.str.contains(arguments[0], regex=False)
            return getattr(values.str, name)(arguments[0])

        # 3. Of numbers
        if name not in METHODS or node.keywords:
            raise ValueError(f"“{name}” is not one of {', '.join(METHODS)}")
        values = self.value(owner)
        if not isinstance(values, pd.Series):
            raise ValueError(f"“{ast.unparse(owner)}” is no column")
        return getattr(values, name)(*arguments)


def _is_equality(comparison: ast.cmpop) -> bool:
    return isinstance(comparison, ast.Eq | ast.NotEq)


def _alike(left: Any, right: Any, ordered: bool) -> tuple[Any, Any]:
    """Two values made comparable: both numbers or both text.

    Args:
        left: A column or a constant.
        right: Another one.
        ordered: Whether they are compared by size; a column of text then counts as
            numbers where the other side is a number.

    Returns:
        Both.

    Raises:
        ValueError: If one is a text that is no number and the other holds numbers.
    """
    if _is_text(left) == _is_text(right):
        return left, right
    if _is_text(right):
        right, left = _alike(right, left, ordered)
        return left, right
    # From here on `left` is text and `right` is not.
    # A column of text as numbers where it is ordered, else a number as text
    if isinstance(left, pd.Series):
        if ordered or isinstance(right, pd.Series):
            return pd.to_numeric(left, errors="coerce"), right
        return left, str(right)
    # A text beside a column of numbers
    try:
        return float(left), right
    except ValueError:
        name = right.name if isinstance(right, pd.Series) else right
        raise ValueError(f"{name} holds numbers, and “{left}” is none") from None
