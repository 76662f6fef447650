"""The numbered tables of the language: operators, builtins, methods, exceptions, classes.

The position of a name is its number in the program format: never reorder, add at the end.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = [
    "BINARY",
    "BUILTINS",
    "COMPARE",
    "CONVERSIONS",
    "EXCEPTIONS",
    "KEYWORDS",
    "METHODS",
    "PARENTS",
    "RAISABLE",
    "TYPES",
    "UNARY",
    "Arity",
    "ancestors",
]

BINARY: Final = ("+", "-", "*", "/", "//", "%", "**", "&", "|", "^", "<<", ">>")
UNARY: Final = ("-", "+", "~")
COMPARE: Final = ("==", "!=", "<", "<=", ">", ">=", "in", "not in")
CONVERSIONS: Final = ("", "s", "r", "a")


class Arity(NamedTuple):
    """How a builtin or method may be called: counts of positional arguments, and the keywords it knows."""

    least: int
    most: int
    keywords: tuple[str, ...] = ()


MANY: Final = 255

# A name that begins with a full stop is for code that the compiler writes.
BUILTINS: Final[dict[str, Arity]] = {
    "abs": Arity(1, 1),
    "all": Arity(1, 1),
    "any": Arity(1, 1),
    "bool": Arity(0, 1),
    "dict": Arity(0, 1, ("*",)),
    "enumerate": Arity(1, 2, ("start",)),
    "float": Arity(0, 1),
    "int": Arity(0, 2, ("base",)),
    "len": Arity(1, 1),
    "list": Arity(0, 1),
    "max": Arity(1, MANY, ("default",)),
    "min": Arity(1, MANY, ("default",)),
    "range": Arity(1, 3),
    "repr": Arity(1, 1),
    "round": Arity(1, 2, ("ndigits",)),
    "sorted": Arity(1, 1, ("reverse",)),
    "str": Arity(0, 1),
    "sum": Arity(1, 2, ("start",)),
    "tuple": Arity(0, 1),
    "zip": Arity(0, MANY, ("strict",)),
    "ascii": Arity(1, 1),
    "bin": Arity(1, 1),
    "bytes": Arity(0, 1),
    "callable": Arity(1, 1),
    "chr": Arity(1, 1),
    "divmod": Arity(2, 2),
    "format": Arity(1, 2),
    "hex": Arity(1, 1),
    "iter": Arity(1, 1),
    "next": Arity(1, 2),
    "oct": Arity(1, 1),
    "ord": Arity(1, 1),
    "pow": Arity(2, 3),
    "reversed": Arity(1, 1),
    "set": Arity(0, 1),
    ".arrange": Arity(3, 3),
    ".same_list": Arity(1, 1),
}

METHODS: Final[dict[str, Arity]] = {
    "append": Arity(1, 1),
    "copy": Arity(0, 0),
    "count": Arity(1, 3),
    "endswith": Arity(1, 3),
    "extend": Arity(1, 1),
    "get": Arity(1, 2),
    "index": Arity(1, 3),
    "insert": Arity(2, 2),
    "items": Arity(0, 0),
    "join": Arity(1, 1),
    "keys": Arity(0, 0),
    "lower": Arity(0, 0),
    "pop": Arity(0, 2),
    "replace": Arity(2, 3),
    "reverse": Arity(0, 0),
    "setdefault": Arity(1, 2),
    "split": Arity(0, 2, ("sep", "maxsplit")),
    "startswith": Arity(1, 3),
    "strip": Arity(0, 1),
    "update": Arity(0, MANY, ("*",)),
    "upper": Arity(0, 0),
    "values": Arity(0, 0),
    "add": Arity(1, 1),
    "bit_count": Arity(0, 0),
    "bit_length": Arity(0, 0),
    "capitalize": Arity(0, 0),
    "center": Arity(1, 2),
    "clear": Arity(0, 0),
    "decode": Arity(0, 1),
    "difference": Arity(0, MANY),
    "difference_update": Arity(0, MANY),
    "discard": Arity(1, 1),
    "encode": Arity(0, 1),
    "find": Arity(1, 3),
    "hex": Arity(0, 0),
    "intersection": Arity(0, MANY),
    "intersection_update": Arity(0, MANY),
    "is_integer": Arity(0, 0),
    "isalnum": Arity(0, 0),
    "isalpha": Arity(0, 0),
    "isdigit": Arity(0, 0),
    "isdisjoint": Arity(1, 1),
    "islower": Arity(0, 0),
    "isspace": Arity(0, 0),
    "issubset": Arity(1, 1),
    "issuperset": Arity(1, 1),
    "isupper": Arity(0, 0),
    "ljust": Arity(1, 2),
    "lstrip": Arity(0, 1),
    "partition": Arity(1, 1),
    "popitem": Arity(0, 0),
    "remove": Arity(1, 1),
    "removeprefix": Arity(1, 1),
    "removesuffix": Arity(1, 1),
    "rfind": Arity(1, 3),
    "rindex": Arity(1, 3),
    "rjust": Arity(1, 2),
    "rpartition": Arity(1, 1),
    "rsplit": Arity(0, 2, ("sep", "maxsplit")),
    "rstrip": Arity(0, 1),
    "sort": Arity(0, 0, ("reverse",)),
    "splitlines": Arity(0, 1, ("keepends",)),
    "swapcase": Arity(0, 0),
    "symmetric_difference": Arity(1, 1),
    "symmetric_difference_update": Arity(1, 1),
    "title": Arity(0, 0),
    "to_bytes": Arity(0, 2, ("length", "byteorder", "signed")),
    "union": Arity(0, MANY),
    "zfill": Arity(1, 1),
}

# Positional parameters of methods that may be named too, with their defaults.
KEYWORDS: Final[dict[str, tuple[tuple[str, object], ...]]] = {
    "split": (("sep", None), ("maxsplit", -1)),
    "rsplit": (("sep", None), ("maxsplit", -1)),
    "splitlines": (("keepends", False),),
    "sort": (("reverse", False),),
    "to_bytes": (("length", 1), ("byteorder", "big"), ("signed", False)),
}

# Every exception with its base class, in the order of their numbers.
PARENTS: Final[dict[str, str]] = {
    "Exception": "BaseException",
    "ArithmeticError": "Exception",
    "AssertionError": "Exception",
    "AttributeError": "Exception",
    "IndexError": "LookupError",
    "KeyError": "LookupError",
    "LookupError": "Exception",
    "NotImplementedError": "RuntimeError",
    "OverflowError": "ArithmeticError",
    "PermissionError": "Exception",
    "QuorumMissed": "Exception",
    "RecursionError": "RuntimeError",
    "RuntimeError": "Exception",
    "TypeError": "Exception",
    "UnboundLocalError": "NameError",
    "ValueError": "Exception",
    "ZeroDivisionError": "ArithmeticError",
    "BaseException": "",
    "Cancelled": "BaseException",
    "DeadlineMissed": "Exception",
    "NameError": "Exception",
    "StopIteration": "Exception",
    "UnicodeDecodeError": "UnicodeError",
    "UnicodeEncodeError": "UnicodeError",
    "UnicodeError": "ValueError",
}
EXCEPTIONS: Final = tuple(PARENTS)
# A program does not make those that say what a host found, nor those whose arguments CPython checks.
RAISABLE: Final = frozenset(EXCEPTIONS) - {
    "Cancelled",
    "DeadlineMissed",
    "PermissionError",
    "QuorumMissed",
    "UnicodeDecodeError",
    "UnicodeEncodeError",
}

# What isinstance() knows besides exceptions.
TYPES: Final = ("bool", "bytes", "dict", "float", "int", "list", "range", "set", "str", "tuple")


def ancestors(name: str) -> tuple[str, ...]:
    """An exception's classes: its own, its base's, and so on."""
    found = []
    while name:
        found.append(name)
        name = PARENTS[name]
    return tuple(found)
