"""Rows of an author's own, from files: `.npz` with one array for each field, or `.csv` with a header.

A file is read as `sojourn-agent data import` reads it (`sojourn.agent.csvrows`), but that NaN and infinities may stand
in every field: there is no stream here that could say otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from sojourn.agent.csvrows import read_csv
from sojourn.agent.data import read_columns
from sojourn.errors import UsageError

__all__ = ["read_rows"]


def read_rows(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The columns of a file.

    Raises:
        UsageError: it cannot be read; the message says which line and what to write.
    """
    if path.suffix == ".npz":
        return read_columns(path)
    if path.suffix != ".csv":
        raise UsageError(f"{path}: rows come from a .csv or an .npz file; save them as one of these")
    return read_csv(path, nan=None)
