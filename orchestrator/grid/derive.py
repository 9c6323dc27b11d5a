"""Values that derive from others: ``"${param}"``, ``"${2 * seed + 1}"``, ``"lr-${learning_rate}"``.

What stands between braces is a parameter's dotted name, a bundle axis (its bundle's name), or arithmetic on them:
numbers, ``+ - * / // % **``, parentheses, and an item of a list (``range[0]``). Text that is nothing but one ``${…}``
keeps the value's type; other text is filled in.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator import template
from orchestrator.grid.problems import shown
from orchestrator.identity import Leaf

_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_MAX_BITS = 1024

Lookup = Callable[[str], Any]


def _power(base: float, exponent: float) -> Any:
    if abs(exponent) > _MAX_BITS or (isinstance(base, int) and base.bit_length() * abs(exponent) > _MAX_BITS):
        raise ValueError("the power is too large")
    return base**exponent


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


@dataclass(frozen=True)
class Expression:
    """What stands between one pair of braces: a parsed tree in which the variable ``_0`` stands for ``names[0]``."""

    text: str
    tree: ast.expr
    names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Read an expression.

        Raises
        ------
        ValueError
            If it is anything but names, numbers and arithmetic.
        """
        names: list[str] = []

        def variable(match: re.Match[str]) -> str:
            names.append(match[0])
            return f"_{len(names) - 1}"

        try:
            # Variables of our own stand in for names, which may be words that Python reserves, such as lambda.
            tree = ast.parse(_NAME.sub(variable, text), mode="eval").body
            _refuse_others(tree)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"${{{text}}} is no expression: use names, numbers, + - * / // % ** and ( )") from error
        return cls(text, tree, tuple(names))

    def evaluate(self, lookup: Lookup) -> Leaf:
        """Compute the value.

        Raises
        ------
        ValueError
            If the arithmetic fails or the result is not finite.
        """
        try:
            value: Leaf = _evaluate(self.tree, lambda variable: lookup(self.names[int(variable[1:])]))
        except (ArithmeticError, TypeError, IndexError) as error:
            raise ValueError(f"${{{self.text}}} cannot be computed: {error}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"${{{self.text}}} is {value}, not a finite number")
        return value


def _refuse_others(tree: ast.expr) -> None:
    """Refuse every kind of expression that is not arithmetic."""
    match tree:
        case ast.Name() | ast.Constant(value=int() | float()) if not isinstance(getattr(tree, "value", 0), bool):
            return
        case ast.BinOp(op=operation) if type(operation) in _BINARY:
            _refuse_others(tree.left)
            _refuse_others(tree.right)
        case ast.UnaryOp(op=sign) if type(sign) in _UNARY:
            _refuse_others(tree.operand)
        case ast.Subscript(value=ast.Name(), slice=ast.Constant(value=int())):
            return
        case _:
            raise SyntaxError(ast.dump(tree))


def _evaluate(tree: ast.expr, lookup: Lookup) -> Any:
    match tree:
        case ast.Name():
            return lookup(tree.id)
        case ast.Constant():
            return tree.value
        case ast.Subscript(slice=ast.Constant(value=index)):
            return _evaluate(tree.value, lookup)[index]
        case ast.UnaryOp():
            return _UNARY[type(tree.op)](_number(_evaluate(tree.operand, lookup)))
        case ast.BinOp():
            left, right = (_number(_evaluate(side, lookup)) for side in (tree.left, tree.right))
            result = _BINARY[type(tree.op)](left, right)
            if isinstance(result, int) and result.bit_length() > _MAX_BITS:
                raise ValueError("the result is too large")
            return result
    raise AssertionError(tree)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{shown(value)} is not a number")
    return value


@dataclass(frozen=True)
class Derived:
    """A value that derives from others: text split at its expressions, or a list that holds such text."""

    parts: tuple[str | Expression | Derived | Leaf, ...]
    kind: type

    @property
    def names(self) -> frozenset[str]:
        """The names of all expressions."""
        found = [part.names for part in self.parts if isinstance(part, (Expression, Derived))]
        return frozenset().union(*found)

    def evaluate(self, lookup: Lookup) -> Leaf:
        """Compute the value; raises ``ValueError`` as :meth:`Expression.evaluate` does."""
        values: list[Leaf] = [
            part.evaluate(lookup) if isinstance(part, (Expression, Derived)) else part for part in self.parts
        ]
        if self.kind is list:
            return values
        if len(values) == 1:
            return values[0]
        return "".join(map(template.text_of, values))


def derived(value: Leaf) -> Leaf | Derived:
    """Return the value itself, or a :class:`Derived` if there is a ``${…}`` in it.

    Raises
    ------
    ValueError
        If an expression cannot be read.
    """
    if isinstance(value, list):
        items = [derived(item) for item in value]
        return Derived(tuple(items), list) if any(isinstance(item, Derived) for item in items) else value
    if not isinstance(value, str) or "${" not in value:
        return value
    parts = [Expression.parse(text) if inside else text for text, inside in template.pieces(value)]
    return Derived(tuple(parts), str)
