"""Literals: scalars, and tuples of them, in the source."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from sojourn.vm.program import Scalar

__all__ = ["is_literal", "literal_size", "literal_value"]


def is_literal(node: ast.expr) -> bool:
    """Whether an expression is a value that never changes, written out."""
    if isinstance(node, ast.Tuple):
        return all(is_literal(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
        return isinstance(node, ast.Constant) and type(node.value) in (int, float)
    return isinstance(node, ast.Constant) and not isinstance(node.value, complex) and node.value is not Ellipsis


def literal_value(node: ast.expr, names: Mapping[str, ast.expr]) -> tuple[Scalar | tuple[object, ...]] | None:
    """The value of a literal, or of a literal of the module by its name, in a tuple; None if it is none."""
    if isinstance(node, ast.Name) and node.id in names:
        node = names[node.id]
    return (ast.literal_eval(node),) if is_literal(node) else None


def literal_size(value: object) -> int:
    """How many values there are in a literal."""
    return 1 + sum(map(literal_size, value)) if isinstance(value, tuple) else 1
