"""Seeks planted rows in bytes: as text, numbers of several formats, scaled integers and windows of tensors.

Rules:

* A canary row has 30 fields of 8 significant digits. Some forms of a field are *strong*: chance does not make them in a
  message of megabytes (8 bytes of a float64, 7 digits of text). Of the others a finding needs several fields of one row
  in one message.
* Windows are taken at every byte, as float32, float64, int32 and int64 in both byte orders, and compared by the angle
  alone: scaling, clipping, quantisation and multiplication by a weight change nothing.
* Whoever reads an update knows the public model that it was made on, so arrays are judged with that added, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = ["COSINE", "DIGITS", "FIELDS", "Canaries", "Finding", "Message"]

FIELDS: Final = 30
DIGITS: Final = 8
COSINE: Final = 0.999
WEAK_FIELDS: Final = 2  # of one row in one message: 4 bytes or 5 digits each
SMALL_FIELDS: Final = 3  # integers of 5 or 6 digits
ALIKE_FIELDS: Final = 8  # of one row among the numbers of one message, in any order
CHUNK: Final = 20_000  # windows judged at once

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Finding:
    """A row that stands in a message."""

    row: int
    form: str
    message: str


@dataclass(frozen=True, slots=True)
class Message:
    """Something that left, decoded as far as it can be.

    Attributes:
        name: for findings.
        data: exact bytes.
        arrays: tensors in it, by name, in every reading that an adversary has.
        numbers: scalars in it.
    """

    name: str
    data: bytes
    arrays: Mapping[str, Array] = field(default_factory=dict)
    numbers: tuple[float, ...] = ()


class Canaries:
    """Distinct random rows, and the search for them.

    Args:
        rows: how many.
        seed: of the draw.
    """

    def __init__(self, rows: int, seed: int) -> None:
        draw = np.random.default_rng(seed)
        digits = draw.choice(np.arange(10 ** (DIGITS - 1) + 1, 10**DIGITS), size=rows * FIELDS, replace=False)
        digits -= digits % 10 == 0  # the last digit counts
        signs = draw.choice((-1, 1), size=rows * FIELDS)
        self.digits = (digits * signs).reshape(rows, FIELDS)
        self.rows = self.digits / 10.0**DIGITS  # 0.1 to 1 in size
        self.x = self.rows.astype(np.float32)
        self._unit = np.stack([row / np.linalg.norm(row) for row in self.rows])
        self._texts = self._decimal_forms()
        self._words = {4: self._binary_forms(4), 8: self._binary_forms(8)}

    # What is sought

    def _fields(self) -> Iterator[tuple[int, int, int]]:
        for row in range(len(self.rows)):
            for column in range(FIELDS):
                yield row, column, int(self.digits[row, column])

    def _decimal_forms(self) -> dict[bytes, tuple[int, int, int]]:
        """Digit strings of 5 to 8 digits, rounded and cut, of the decimal and of its float32: (row, column, digits)."""
        forms: dict[bytes, tuple[int, int, int]] = {}
        for row, column, digits in self._fields():
            exact = str(abs(digits))
            single = format(abs(float(self.x[row, column])), ".17f").partition(".")[2]
            for count in range(5, DIGITS + 1):
                rounded = str(round(abs(digits) / 10 ** (DIGITS - count)))[:count]
                for text in (exact[:count], rounded, single[:count]):
                    forms.setdefault(text.encode(), (row, column, count))
        return forms

    def _binary_forms(self, size: int) -> list[tuple[str, int, NDArray[np.uint64], NDArray[np.int64]]]:
        """`(form, fields needed, sorted words, field of each)` of all forms with `size` bytes, little endian words."""
        known: list[tuple[str, int, Array]] = []
        if size == 4:
            known.append(("float32", WEAK_FIELDS, self.x))
        else:
            known += [("float64", 1, self.rows), ("float64 of float32", 1, self.x.astype(np.float64))]
        for power in range(5, 10):
            scaled = np.rint(self.digits * 10.0 ** (power - DIGITS)).astype(np.int64)
            needed = WEAK_FIELDS if power >= 7 else SMALL_FIELDS
            known.append((f"int{size * 8} times 1e{power}", needed, scaled.astype(f"i{size}")))
        forms = []
        for form, needed, values in known:
            for order, name in (("<", "little endian"), (">", "big endian")):
                words = values.astype(values.dtype.newbyteorder(order)).reshape(-1).view(f"<u{size}")
                sort = np.argsort(words)
                forms.append((f"{form}, {name}", needed, words[sort].astype(np.uint64), sort))
        return forms

    # The search

    def find(self, messages: Iterable[Message]) -> list[Finding]:
        """Every row that is found, in which form and where."""
        found: list[Finding] = []
        for message in messages:
            hits = {
                *self._text(message.data),
                *self._exact(message.data),
                *self._windows(message.data),
                *self._tensors(message.arrays),
                *self._alike("numbers", np.array(message.numbers, np.float64)),
            }
            found += [Finding(row, form, message.name) for row, form in sorted(hits)]
        return found

    def _text(self, data: bytes) -> Iterator[tuple[int, str]]:
        plain = data.replace(b".", b"").replace(b",", b"")
        weak: dict[int, set[int]] = {}
        for text, (row, column, count) in self._texts.items():
            if text in plain:
                if count >= 7:
                    yield row, f"text of {count} digits"
                weak.setdefault(row, set()).add(column)
        for row, columns in weak.items():
            if len(columns) >= WEAK_FIELDS:
                yield row, "text of 5 digits or more"

    def _exact(self, data: bytes) -> Iterator[tuple[int, str]]:
        for size, forms in self._words.items():
            if len(data) < size:
                continue
            here = np.unique(sliding_window_view(np.frombuffer(data, np.uint8), size).copy().view(f"<u{size}"))
            for form, needed, words, fields in forms:
                places = np.searchsorted(here.astype(np.uint64), words)
                matched = here.astype(np.uint64)[np.minimum(places, len(here) - 1)] == words
                rows = fields[matched] // FIELDS
                for row in np.unique(rows):
                    if np.count_nonzero(rows == row) >= needed:
                        yield int(row), form

    def _windows(self, data: bytes) -> Iterator[tuple[int, str]]:
        """Every window of 30 numbers at every byte offset."""
        for kind in ("<f4", ">f4", "<f8", ">f8", "<i4", ">i4", "<i8", ">i8"):
            size = int(kind[2])
            for phase in range(size):
                count = (len(data) - phase) // size
                if count >= FIELDS:
                    values = np.frombuffer(data, kind, count, phase)
                    for row in self._angles(values):
                        yield row, f"window of {kind} at a multiple of {size} plus {phase}"

    def _tensors(self, arrays: Mapping[str, Array]) -> Iterator[tuple[int, str]]:
        for name, array in arrays.items():
            flat = np.ascontiguousarray(array).reshape(-1)
            for row in self._angles(flat):
                yield row, f"tensor {name}"
            yield from self._alike(f"tensor {name}", flat.astype(np.float64))
        if arrays:
            together = np.concatenate([np.asarray(array, np.float64).reshape(-1) for array in arrays.values()])
            for row in self._angles(together):
                yield row, "tensors one after the other"

    def _angles(self, values: Array) -> set[int]:
        """Rows that some window of `values` is parallel to."""
        if values.size < FIELDS:
            return set()
        with np.errstate(over="ignore", invalid="ignore"):
            wide = values.astype(np.float64)
        windows = sliding_window_view(np.where(np.isfinite(wide), wide, 0.0), FIELDS)
        found: set[int] = set()
        for start in range(0, len(windows), CHUNK):
            part = windows[start : start + CHUNK]
            peak = np.abs(part).max(axis=1)
            part = part[peak > 0] / peak[peak > 0, None]  # so that no square overflows
            cosines = np.abs(part @ self._unit.T) / np.sqrt(np.square(part).sum(axis=1))[:, None]
            found.update(int(row) for row in np.flatnonzero((cosines > COSINE).any(axis=0)))
        return found

    def _alike(self, what: str, values: NDArray[np.float64]) -> Iterator[tuple[int, str]]:
        """Rows of which many fields stand among `values`, to six digits, in whatever order."""
        finite = np.sort(np.abs(values[np.isfinite(values)]))
        if not finite.size:
            return
        sought = np.abs(self.rows)
        places = np.clip(np.searchsorted(finite, sought), 1, max(finite.size - 1, 1))
        near = np.minimum(
            np.abs(finite[places - 1] - sought), np.abs(finite[np.minimum(places, finite.size - 1)] - sought)
        )
        for row in np.flatnonzero(np.count_nonzero(near < 1e-6 * sought, axis=1) >= ALIKE_FIELDS):
            yield int(row), f"{what}, in some order"
