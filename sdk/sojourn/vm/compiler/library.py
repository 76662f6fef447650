"""Functions that the compiler brings along: what calls a function of the program many times for one call of a builtin.

They are written in the language and compiled into the programs that use them, so that a key function may do whatever
functions may: raise, ask for an effect, be stopped and resumed. Their lines are 0: an error in one is reported at the
line that called it.
"""

from __future__ import annotations

import ast
from typing import Final

__all__ = ["library_source"]

_SOURCE: Final = """
def sorted(items, *, key, reverse):
    items = list(items)
    arrange(items, items if key is None else [key(item) for item in items], reverse)
    return items

def sort(items, *, key, reverse):
    arrange(items, items if key is None else [key(item) for item in list(items)], reverse)

def max(items, *, key, default, optional):
    found, best, empty = None, None, True
    for item in items:
        value = item if key is None else key(item)
        if empty or value > best:
            found, best, empty = item, value, False
    if empty:
        if optional:
            return default
        raise ValueError("max() arg is an empty sequence")
    return found

def min(items, *, key, default, optional):
    found, best, empty = None, None, True
    for item in items:
        value = item if key is None else key(item)
        if empty or value < best:
            found, best, empty = item, value, False
    if empty:
        if optional:
            return default
        raise ValueError("min() arg is an empty sequence")
    return found
"""
_TREE: Final = ast.parse(_SOURCE)
for _node in ast.walk(_TREE):
    if isinstance(_node, ast.Name) and _node.id == "arrange":
        _node.id = ".arrange"  # no author can write this name
_FUNCTIONS: Final = {node.name: node for node in _TREE.body if isinstance(node, ast.FunctionDef)}


def library_source(name: str) -> ast.FunctionDef:
    """The source of a function of the library."""
    return _FUNCTIONS[name]
