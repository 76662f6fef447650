"""Does an agent entry treat boxes, payloads and batches as what they are? Asked of the compiled program.

Only what is certain is refused, as in `sojourn.client.review`: see `sojourn.vm.sealed` and `sojourn.vm.batches`. What
the machine would only find out where the data is, and tell nobody but its owner, is said to the author here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Final

from sojourn.client.review import Code
from sojourn.errors import UsageError
from sojourn.vm.batches import field_sites
from sojourn.vm.sealed import box_uses, payload_sites
from sojourn.vm.sites import effect_sites

__all__ = ["review_inside"]

_NUMBER: Final = "rows"
"""Key of a batch under which the number of its rows stands."""


def review_inside(code: Code, entry: str) -> None:
    """Look for what cannot work in what `entry` does with private data.

    Raises:
        UsageError: a box is used as if it were open, a release names what its box does not hold, or a region reads a
            field that the streams are not opened with.
    """
    for use in box_uses(code.program, entry):
        raise UsageError(
            f"{code.where(use.line)}: {use.function}() would {use.word} a box, which is sealed outside of regions; "
            "decide inside, in the function that private(...) runs, or pass the box to another private(f, box, "
            "fuel=..., memory=...) or to release.*"
        )
    for site in payload_sites(code.program, entry):
        if site.key not in site.keys:
            raise UsageError(
                f"{code.where(site.line)}: {site.effect} takes {site.parameter}={site.key!r} from what {site.region}() "
                f"returns, which has {_listed(site.keys)}; write {_choice(site.key, site.keys)}"
            )
    _review_fields(code, entry)


def _review_fields(code: Code, entry: str) -> None:
    fields: dict[str, None] = {}
    for opened in effect_sites(code.program, entry):
        if opened.effect == "stream.open":
            listed = opened.constants.get("fields")
            if not isinstance(listed, tuple):
                return
            fields |= dict.fromkeys(str(field) for field in listed)
    for site in field_sites(code.program, entry):
        if site.key not in {*fields, _NUMBER}:
            raise UsageError(
                f"{code.where(site.line)}: {site.function}() reads {site.key!r} of a batch, which has "
                f"{_listed([*fields, _NUMBER])}; write {_choice(site.key, [*fields, _NUMBER])}, or add {site.key!r} to "
                "fields=[...] of stream.open"
            )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _choice(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return repr(near[0]) if near else "one of these"
