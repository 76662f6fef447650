"""Rules against leaks, each with a way to take it out: what is patched, and nothing else."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sojourn.codec import digest
from sojourn.vm import EFFECTS, Box, Machine, RegionError
from sojourn.vm import machine as module
from sojourn.vm.admission import admit
from sojourn.vm.costs import size_of
from sojourn.vm.faults import Raised
from sojourn.vm.op import EXCEPTIONS
from sojourn.vm.state import Run
from sojourn.vm.values import ExcValue
from sojourn.vm.walking import BoxContent, walk

__all__ = ["RULES"]

RULES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {}


def rule(take_out: Callable[[pytest.MonkeyPatch], None]) -> Callable[[pytest.MonkeyPatch], None]:
    RULES[take_out.__name__] = take_out
    return take_out


def cut(patch: pytest.MonkeyPatch, owner: Any, name: str, old: str, new: str) -> None:
    """Replace one text in the source of a method."""
    source = textwrap.dedent(inspect.getsource(getattr(owner, name)))
    assert source.count(old) == 1
    scope: dict[str, Any] = {}
    exec(compile(source.replace(old, new), "<mutant>", "exec", 1 << 24, dont_inherit=True), module.__dict__, scope)
    patch.setattr(owner, name, scope[name])


def leaving(patch: pytest.MonkeyPatch, after: Callable[[Machine, Run, Any], None]) -> None:
    """Do something more when a region ends."""
    original = Machine._leave

    def leave(self: Machine, content: Any) -> None:
        region = self.runs[-1]
        original(self, content)
        after(self, region, content)

    patch.setattr(Machine, "_leave", leave)


@rule
def a_region_gives_a_box(patch: pytest.MonkeyPatch) -> None:
    def after(machine: Machine, _: Run, content: Any) -> None:
        machine.runs[-1].frames[-1].stack[-1] = None if isinstance(content, RegionError) else content

    leaving(patch, after)


@rule
def a_failure_stays_in_its_box(patch: pytest.MonkeyPatch) -> None:
    def after(machine: Machine, _: Run, content: Any) -> None:
        if isinstance(content, RegionError):
            machine.runs[-1].frames[-1].stack.pop()
            name = content.type_name if content.type_name in EXCEPTIONS else "RuntimeError"
            machine._raised(Raised(name, "", ExcValue(name, (content.message,), content.line)))

    leaving(patch, after)


@rule
def fuel_is_charged_whole(patch: pytest.MonkeyPatch) -> None:
    def after(machine: Machine, region: Run, _: Any) -> None:
        machine.runs[-1].fuel += region.fuel

    leaving(patch, after)


@rule
def memory_is_charged_whole(patch: pytest.MonkeyPatch) -> None:
    def after(machine: Machine, region: Run, _: Any) -> None:
        machine.runs[-1].memory += region.memory

    leaving(patch, after)


@rule
def a_box_costs_what_its_region_did(patch: pytest.MonkeyPatch) -> None:
    def after(machine: Machine, _: Run, content: Any) -> None:
        run = machine.runs[-1]
        size = 1 if isinstance(content, RegionError) else 1 + sum(map(size_of, walk((content,))))
        run.boxes[run.frames[-1].stack[-1].id] = BoxContent(content, size)

    leaving(patch, after)


@rule
def a_box_is_named_by_its_place(patch: pytest.MonkeyPatch) -> None:
    def after(machine: Machine, _: Run, content: Any) -> None:
        stack, boxes = machine.runs[-1].frames[-1].stack, machine.runs[-1].boxes
        box = Box(digest(repr(content).encode()), stack[-1].label)
        boxes[box.id] = boxes.pop(stack[-1].id)
        stack[-1] = box

    leaving(patch, after)


@rule
def a_region_counts_its_own_operations(patch: pytest.MonkeyPatch) -> None:
    def after(machine: Machine, region: Run, _: Any) -> None:
        machine.runs[-1].operation += region.operation

    leaving(patch, after)


@rule
def arguments_are_copied_in(patch: pytest.MonkeyPatch) -> None:
    def shared(_run: Run, values: Any, open_box: Any = None, extent: str = "plain") -> list[Any]:
        return [open_box(value) if open_box and type(value) is Box else value for value in values]

    patch.setattr(module, "copy_values", shared)


@rule
def public_effects_are_made_in_public(patch: pytest.MonkeyPatch) -> None:
    for name, spec in list(EFFECTS.items()):
        patch.setitem(EFFECTS, name, dataclasses.replace(spec, worlds=frozenset(("public", "region"))))
    cut(patch, Machine, "_fork", "if run.region:", "if False:")


@rule
def releases_are_made_in_public(patch: pytest.MonkeyPatch) -> None:
    """Two rules stop a release inside: it is no effect of that world, and no effect of that world takes a box."""
    public_effects_are_made_in_public(patch)
    cut(patch, Machine, "_park", 'refuse_box(f"give {spec.name}()", *private)', "pass")


@rule
def an_effect_on_a_box_gives_a_box(patch: pytest.MonkeyPatch) -> None:
    original = Machine.resume

    def resume(self: Machine, value: Any) -> None:
        assert self.asked is not None
        self.asked = msgspec.structs.replace(self.asked, boxed=False)
        original(self, value)

    patch.setattr(Machine, "resume", resume)


@rule
def an_effect_on_a_box_fails_in_a_box(patch: pytest.MonkeyPatch) -> None:
    original = Machine.throw

    def throw(self: Machine, type_name: str, message: str) -> None:
        assert self.asked is not None
        self.asked = msgspec.structs.replace(self.asked, boxed=False)
        original(self, type_name, message)

    patch.setattr(Machine, "throw", throw)


@rule
def a_private_handle_is_as_private_as_a_box(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "private_things", lambda values, run=None: [v for v in walk(values) if type(v) is Box])


@rule
def a_boxed_result_is_paid_for_by_a_purse(patch: pytest.MonkeyPatch) -> None:
    def box_result(self: Machine, run: Run, effect: Any, value: Any) -> Box:
        return self._new_box(run, effect, admit(run, (value,))[0])

    patch.setattr(Machine, "_box_result", box_result)


@rule
def a_release_says_nothing(patch: pytest.MonkeyPatch) -> None:
    original = Machine.resume

    def resume(self: Machine, value: Any) -> None:
        if self.asked is not None and self.asked.name.startswith("release."):
            self.asked = None
            self.runs[-1].frames[-1].stack.append(value)
        else:
            original(self, value)

    patch.setattr(Machine, "resume", resume)


@rule
def a_release_is_public_but_for_its_payload(patch: pytest.MonkeyPatch) -> None:
    cut(patch, Machine, "_park", 'value for name, value in args.items() if name != "box"', "()")


@rule
def public_effects_take_no_boxes(patch: pytest.MonkeyPatch) -> None:
    for name, spec in list(EFFECTS.items()):
        if not spec.releases:
            patch.setitem(EFFECTS, name, dataclasses.replace(spec, boxed=True))


@rule
def limits_of_a_region_are_public(patch: pytest.MonkeyPatch) -> None:
    original = Machine._enter

    def enter(self: Machine, run: Run, what: Any) -> None:
        opened = {k: self.open(v) if type(v := getattr(what, k)) is Box else v for k in ("fuel", "memory")}
        original(self, run, msgspec.structs.replace(what, **opened))

    patch.setattr(Machine, "_enter", enter)
