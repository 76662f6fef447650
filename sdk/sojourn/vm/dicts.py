"""Filling dicts from other dicts and from pairs."""

from __future__ import annotations

from sojourn.vm.bounded import bounded
from sojourn.vm.costs import SLOT
from sojourn.vm.crowds import refuse_crowd, refuse_crowds
from sojourn.vm.faults import Raised, refuse_box
from sojourn.vm.iteration import items_of, list_of
from sojourn.vm.keys import check_member, pay_members
from sojourn.vm.state import Run
from sojourn.vm.values import Value

__all__ = ["update_dict"]


def update_dict(run: Run, target: dict[Value, Value], source: Value) -> None:
    """`target.update(source)`: a dict, or pairs."""
    if type(source) is dict:
        run.allocate(3 * SLOT * len(source))
        run.spend(len(source) >> 2)
        pay_members(run, source)
        refuse_crowds(run, target, source)
        target.update(source)
        return
    _update_by_pairs(run, target, source)


@bounded
def _update_by_pairs(run: Run, target: dict[Value, Value], source: Value) -> None:
    for position, pair in enumerate(items_of(run, source)):
        try:
            items = list_of(run, pair)
        except Raised as problem:
            refuse_box("iterate over", pair)
            if problem.type_name != "TypeError":  # a walk that fails
                raise
            raise Raised(
                "TypeError", f"cannot convert dictionary update sequence element #{position} to a sequence"
            ) from None
        if len(items) != 2:
            raise Raised(
                "ValueError",
                f"dictionary update sequence element #{position} has length {len(items)}; 2 is required",
            )
        run.spend(1)
        check_member(run, items[0])
        if items[0] not in target:
            refuse_crowd(run, target, items[0])
            run.allocate(3 * SLOT)
        target[items[0]] = items[1]
