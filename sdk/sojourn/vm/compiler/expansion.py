"""How large a source gets when it is written out, before anything writes it out.

A `finally` is compiled for each way out of it, by CPython's compiler, which looks at the source first, and by this one.
One inside of another multiplies: 30 lines can stand for a billion instructions.
"""

from __future__ import annotations

import ast

from sojourn.vm.compiler.emitter import MAX_WORK

__all__ = ["check_expansion"]


def check_expansion(tree: ast.Module) -> None:
    """Raise OverflowError for a source that is larger than any program when it is written out."""
    size, _ = _written_out(tree)
    if size > 4 * MAX_WORK:  # nodes of the tree; an instruction takes one to three
        raise OverflowError(f"{size} parts when each finally is written out for each way out of it")


def _written_out(node: ast.AST) -> tuple[int, int]:
    """Nodes of a part of the tree when it is written out, and the ways out (`return`, `break`, `continue`) in it."""
    size, exits = 1, int(isinstance(node, ast.Return | ast.Break | ast.Continue))
    last = node.finalbody if isinstance(node, ast.Try | ast.TryStar) else []
    skip = set(map(id, last))
    for child in ast.iter_child_nodes(node):
        if id(child) not in skip:
            more, ways = _written_out(child)
            size, exits = size + more, exits + ways
    copies = 2 + exits  # when nothing is raised, when something is, and for each way out
    for child in last:
        more, ways = _written_out(child)
        size, exits = size + copies * more, exits + copies * ways
    return size, 0 if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef) else exits
