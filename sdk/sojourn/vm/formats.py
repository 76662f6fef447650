"""Format specifications of f-strings: the part of CPython's mini-language that is the same on every machine."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MAX_DIGITS", "MAX_WIDTH", "check_format"]

MAX_WIDTH: Final = 1_000
MAX_DIGITS: Final = 4_300  # of an integer as text: what CPython 3.11 comes with

_SPEC: Final = re.compile(
    r"(?:[\x20-\x7e]?[<>=^])?[-+ ]?z?#?0?(?P<width>[0-9]{0,5})[_,]?(?:\.(?P<precision>[0-9]{1,5}))?[bcdeEfFgGosxX%]?"
)


def check_format(spec: str) -> str | None:
    """Why a format is refused, or None if it is not."""
    match = _SPEC.fullmatch(spec)
    if match is None:
        return f"the format {spec[:40]!a} is not in this language"
    if max(int(match["width"] or 0), int(match["precision"] or 0)) > MAX_WIDTH:
        return f"the format {spec!a} asks for more than {MAX_WIDTH} characters"
    return None
