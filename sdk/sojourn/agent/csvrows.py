"""Rows from a `.csv` file: strict, whole or not at all.

Rules:

* UTF-8, commas, one header line, then one line for each row with as many numbers as the header has names.
* A name is `age`, `age:i64` with a type, or `x[0]`, `x[1]`, ... for the elements of one field `x`. Without a type a
  column is what the stream's field is, and `f32` where there is no stream yet.
* A number is written in ASCII: `-1`, `2.5`, `1e-3`; in a `bool`, `true`, `false`, `1`, `0`. What the type cannot hold
  is refused, and so is a whole number that a float would round. `nan` and `inf` are for fields that may hold them.
* Whatever does not fit is named with its line and column, and nothing of the file is used.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sojourn.datoms import DType
from sojourn.errors import ConfigError, UsageError
from sojourn.streams import Field

__all__ = ["read_csv"]

_HEAD: Final = re.compile(r"(?P<name>[^:\[\]]+)(?:\[(?P<element>[0-9]{1,6})\])?(?::(?P<type>[a-z0-9]+))?")
_WHOLE: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_LOOSE: Final = re.compile(r"nan|[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE)
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_DEFAULT: Final = "f32"

_Lines = list[tuple[int, list[str]]]


@dataclass(frozen=True, slots=True)
class _Column:
    """One column: its title in the header, the field that it belongs to, its type, and whether NaN may stand in it."""

    title: str
    name: str
    single: bool
    type: DType
    nan: bool


def read_csv(
    path: Path, fields: Mapping[str, Field] | None = None, *, nan: frozenset[str] | None = frozenset()
) -> dict[str, npt.NDArray[Any]]:
    """The columns of a file, by field.

    Args:
        path: of the file.
        fields: of the stream that the rows are for; None for rows that are for none yet.
        nan: names of fields that may hold NaN and infinities, besides those of `fields` that do; None for all.

    Returns:
        Arrays of shape `(rows,)`, or `(rows, n)` for a field of n elements.

    Raises:
        ConfigError: the file cannot be read.
        UsageError: a line is not as it has to be; the message names it, and the column.
    """
    (head_line, head), *rows = _lines(path)
    columns = _columns(f"{path}:{head_line}", [title.strip() for title in head], fields or {}, nan)
    if not rows:
        raise UsageError(f"{path} has no rows; write a header and one line for each row")
    for line, row in rows:
        if len(row) != len(columns):
            raise UsageError(f"{path}:{line}: {len(row)} values, the header names {len(columns)}")
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    for place, column in enumerate(columns):
        parts.setdefault(column.name, []).append(_numbers(path, rows, place, column))
    single = {column.name for column in columns if column.single}
    found = {name: arrays[0] if name in single else np.stack(arrays, axis=1) for name, arrays in parts.items()}
    for name, array in found.items():
        if fields and name in fields and array.shape[1:] != fields[name].shape:
            raise UsageError(f"{path}:{head_line}: field {name!r} of the stream is {_spelt(name, fields[name])}")
    return found


def _spelt(name: str, field: Field) -> str:
    if len(field.shape) > 1:
        return f"of shape {list(field.shape)}, which no .csv can hold; give an .npz file"
    if field.shape:
        return f"written {name}[0] to {name}[{field.shape[0] - 1}] in a header"
    return f"one number, written {name} in a header"


def _lines(path: Path) -> _Lines:
    """Every line that is a row, with its number; only at the end of the file may there be empty ones."""
    lines: _Lines = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                lines.append((reader.line_num, row))
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror or problem}; give a readable .csv file") from None
    except (UnicodeDecodeError, csv.Error) as problem:
        raise ConfigError(f"{path}: {problem}; give a readable .csv file in UTF-8") from None
    while lines and not lines[-1][1]:
        lines.pop()
    if not lines:
        raise UsageError(f"{path} is empty; write a header and one line for each row")
    for line, row in lines:
        if not row:
            raise UsageError(f"{path}:{line}: the line is empty; write a row there, or take it out")
    return lines


def _columns(where: str, titles: list[str], fields: Mapping[str, Field], nan: frozenset[str] | None) -> list[_Column]:
    """What the header says."""
    found: list[_Column] = []
    elements: dict[str, int] = {}
    for title in titles:
        match = _HEAD.fullmatch(title)
        if match is None:
            raise UsageError(f"{where}: {title!r} is no field; write name, name:type or name[0]")
        name, element, kind = match["name"], match["element"], match["type"]
        if _FLOAT.fullmatch(title):
            raise UsageError(f"{where}: {title!r} is a number; the first line has to name the columns")
        before = elements.get(name, 0)
        if before and (element is None or any(column.single and column.name == name for column in found)):
            raise UsageError(f"{where}: field {name!r} stands twice; rename one")
        if element is not None and int(element) != before:
            raise UsageError(f"{where}: {title} is out of order; write {name}[{before}] here")
        elements[name] = before + 1
        known = fields.get(name)
        if kind and known and kind != known.dtype:
            raise UsageError(f"{where}: {title}: this field of the stream is {known.dtype}; write {name} or that type")
        loose = nan is None or name in nan or (known is not None and known.nan)
        found.append(_Column(title, name, element is None, _type(where, title, kind, known), loose))
    return found


def _type(where: str, title: str, kind: str | None, known: Field | None) -> DType:
    try:
        found = DType.from_name(kind or (known.dtype if known else _DEFAULT))
    except UsageError as problem:
        raise UsageError(f"{where}: {title!r}: {problem}") from None
    if found is DType.BF16:
        raise UsageError(f"{where}: {title!r}: bf16 are bit patterns, which no .csv can hold; give an .npz file")
    return found


def _numbers(path: Path, rows: _Lines, place: int, column: _Column) -> npt.NDArray[Any]:
    made = np.empty(len(rows), column.type.numpy)
    for at, (line, row) in enumerate(rows):
        try:
            made[at] = _number(row[place].strip(), column)
        except ValueError as problem:
            raise UsageError(f"{path}:{line}: {column.title}: {problem}") from None
    return made


def _number(text: str, column: _Column) -> bool | int | float:
    """The number that a cell holds, which its type can hold. Raises ValueError, with what to write."""
    dtype, kind = column.type.numpy, column.type.name_of
    if dtype.kind == "b":
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"{text!r} is no bool; write true, false, 1 or 0")
        return _BOOLEANS[text.lower()]
    if dtype.kind == "f":
        return _float(text, column)
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is no whole number; write one, or give the column another type than {kind}")
    limits = np.iinfo(dtype)
    if len(text) > 32 or not limits.min <= int(text) <= limits.max:
        raise ValueError(f"{text} is not in {kind}, {limits.min} to {limits.max}; give the column another type")
    return int(text)


def _float(text: str, column: _Column) -> float:
    kind = column.type.name_of
    if _LOOSE.fullmatch(text):
        if not column.nan:
            raise ValueError(f"{text!r} may not stand in this field; write a finite number, or leave the row out")
        return float(text)
    if not _FLOAT.fullmatch(text):
        raise ValueError(f"{text!r} is no number; write a number of type {kind}")
    with np.errstate(over="ignore"):
        held = float(column.type.numpy.type(text))
    if not math.isfinite(held):
        raise ValueError(f"{text} is too large for {kind}; give the column another type, such as {column.name}:f64")
    if _WHOLE.fullmatch(text) and held != int(text):
        raise ValueError(f"{text} would be rounded in {kind}; give the column another type, such as {column.name}:i64")
    return held
