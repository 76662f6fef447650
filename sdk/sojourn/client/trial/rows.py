"""Rows of an author's own, from files: `.npz` with one array for each field, or `.csv` with a header.

In a `.csv`, numbers are float32; `sex:bool` or `visits:i64` in the header give another type, and `x[0]`, `x[1]`, ...
are the elements of one field `x`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sojourn.agent.data import read_columns
from sojourn.datoms import DType
from sojourn.errors import SojournError, UsageError

__all__ = ["read_rows"]

Columns = Mapping[str, npt.NDArray[Any]]

_HEAD: Final = re.compile(r"(?P<name>[^:\[\]]+)(?:\[(?P<element>[0-9]{1,6})\])?(?::(?P<type>[a-z0-9]+))?")


def read_rows(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The columns of a file.

    Raises:
        UsageError: it cannot be read; the message says which line and what to write.
    """
    if path.suffix == ".npz":
        return read_columns(path)
    if path.suffix != ".csv":
        raise UsageError(f"{path}: rows come from a .csv or an .npz file; save them as one of these")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise UsageError(f"{path}: {problem}; give a readable .csv file in UTF-8") from None
    if len(table) < 2:
        raise UsageError(f"{path} has no rows; write a header and one line for each row")
    return _columns(path, [cell.strip() for cell in table[0][1]], table[1:])


def _columns(path: Path, head: list[str], table: list[tuple[int, list[str]]]) -> dict[str, npt.NDArray[Any]]:
    for number, row in table:
        if len(row) != len(head):
            raise UsageError(f"{path}:{number}: {len(row)} values, the header names {len(head)}")
    fields: dict[str, list[npt.NDArray[Any]]] = {}
    for place, title in enumerate(head):
        found = _HEAD.fullmatch(title)
        if found is None:
            raise UsageError(f"{path}:1: {title!r} is no field; write name, name:type or name[0]")
        name, parts = found["name"], fields.setdefault(found["name"], [])
        if found["element"] is None and parts:
            raise UsageError(f"{path}:1: field {name!r} stands twice; rename one")
        if found["element"] is not None and int(found["element"]) != len(parts):
            raise UsageError(f"{path}:1: {title} is out of order; write {name}[{len(parts)}] here")
        parts.append(_column(path, place, title, found["type"] or "f32", table))
    single = {title.partition(":")[0] for title in head if "[" not in title}
    return {name: parts[0] if name in single else np.stack(parts, axis=1) for name, parts in fields.items()}


def _column(path: Path, place: int, title: str, kind: str, table: list[tuple[int, list[str]]]) -> npt.NDArray[Any]:
    try:
        dtype = DType.from_name(kind).numpy
    except SojournError as problem:
        raise UsageError(f"{path}:1: {title!r}: {problem}") from None
    made = np.empty(len(table), dtype)
    for at, (number, row) in enumerate(table):
        text = row[place].strip()
        try:
            made[at] = _NAMES[text.lower()] if text.lower() in _NAMES else _number(text, dtype)
        except (ValueError, OverflowError) as problem:
            raise UsageError(f"{path}:{number}: {title}: {problem}; write a number of type {kind}") from None
    return made


_NAMES: Final = {"true": 1, "false": 0}


def _number(text: str, dtype: np.dtype[Any]) -> int | float:
    return float(text) if dtype.kind == "f" else int(text)
