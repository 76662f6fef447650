"""The machine: a run as a value that a host drives.

`run` goes on until an effect parks the program, a slice of fuel is used, or the run has ended; `resume` and `throw`
answer the effect. The machine makes no I/O and knows no clock and no randomness, so that the same program with the
same results of effects makes the same state, byte for byte, however it is sliced, stored and loaded between.

A private region is a run on top of the one that waits for it. What it costs that one is charged when it is entered and
does not depend on how it ends; its result or its error becomes one box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Final

from sojourn.codec import DIGEST_BYTES, digest_parts
from sojourn.contracts import Occurrence, child_run
from sojourn.errors import MachineError
from sojourn.labels import PUBLIC, Label
from sojourn.limits import MAX_FUEL, MAX_MEMORY_BYTES
from sojourn.vm.admission import INNER_KINDS, PLAIN, admit, check_labels, private_things
from sojourn.vm.calling import call_value, fresh, new_frame
from sojourn.vm.copying import copy_values, paid
from sojourn.vm.costs import BOX_BYTES, OPAQUE_BYTES, REGION_BYTES, bytes_of_label, bytes_of_text, size_of, within
from sojourn.vm.effects import EFFECTS, EffectSpec, World
from sojourn.vm.faults import Exhausted, Raised, refuse_box
from sojourn.vm.op import EXCEPTIONS
from sojourn.vm.progress import Done, Effect, Failed, Parked, Progress, Sliced
from sojourn.vm.projection import advance
from sojourn.vm.snapshot import dump
from sojourn.vm.state import Frame, Run
from sojourn.vm.step import Ask, Enter, Fork, Return, step
from sojourn.vm.suspending import copy_frames
from sojourn.vm.twins import merge_twins
from sojourn.vm.unwinding import line_of, text_of, unwind
from sojourn.vm.values import Box, FunctionValue, Handle, RegionError, Suspended, Value, type_name
from sojourn.vm.verifier import VerifiedProgram
from sojourn.vm.walking import BoxContent, walk, work_of

__all__ = ["Machine"]

MAX_NESTED_REGIONS: Final = 16
_SHARED: Final = frozenset((Box, Suspended))
STRETCH: Final = 1 << 18  # fuel between two looks at what the host holds twice; shorter ones slow hot loops
# As calling the class, and half as long.
_occurrence: Final[Callable[[tuple[bytes, int]], Occurrence]] = partial(tuple.__new__, Occurrence)
_EXHAUSTED: Final = {"fuel": "FuelExhausted", "memory": "MemoryError"}


class _ErrorInside(Exception):
    """A region was given a box that holds an error."""

    def __init__(self, content: RegionError) -> None:
        self.content = content
        super().__init__(content.code)


class Machine:
    """One run of a program. Make it with `start` or `load`."""

    def __init__(self, program: VerifiedProgram, runs: list[Run], *, projection: bool = True) -> None:
        """For `start` and the snapshot loader; hosts use `start` or `load`."""
        self.program = program
        self.projection = projection
        self.runs = runs
        self.asked: Effect | None = None
        self.outcome: Done | Failed | None = None
        self.begun: Run | None = None  # the region or child that the instruction has begun
        self.boxed = 0  # bytes in the boxes made since those that nothing reaches were last forgotten

    @classmethod
    def start(
        cls,
        verified: VerifiedProgram,
        entry: str,
        args: Sequence[Value],
        run: bytes,
        fuel: int,
        memory: int,
        *,
        projection: bool = True,
    ) -> Machine:
        """A machine at the start of an entry.

        Args:
            verified: the program.
            entry: name of one of its entries.
            args: the entry's parameters, copied in; private things only as handles.
            run: identity of the run, 32 bytes.
            fuel: instructions the whole run may execute.
            memory: bytes its live values may cost by the machine's own table.
            projection: whether hot code may run in its second form; shows in nothing but time.

        Raises:
            MachineError: an argument of this call does not fit.
            ProgramInvalid: no such entry.
        """
        index = verified.entry_index(entry)
        code = verified.codes[index]
        if len(run) != DIGEST_BYTES:
            raise MachineError(f"a run's identity has {DIGEST_BYTES} bytes, not {len(run)}")
        if not 0 < fuel <= MAX_FUEL or not 0 < memory <= MAX_MEMORY_BYTES:
            raise MachineError(f"fuel is 1 to {MAX_FUEL} instructions, memory 1 to {MAX_MEMORY_BYTES} bytes")
        missing = code.params - len(args)
        if not 0 <= missing <= len(code.defaults):
            raise MachineError(f"{entry}() takes {code.params} arguments, {len(args)} are given")
        first = Run(verified, run, PUBLIC, region=False, operation=0, fuel=fuel, memory=memory, limit=memory,
                    frames=[], boxes={})  # fmt: skip
        machine = cls(verified, [first], projection=projection)
        defaults = code.constant_defaults[len(code.defaults) - missing :]
        try:
            rest = [fresh(first, default) for default in defaults]
            first.frames.append(new_frame(first, index, [*admit(first, args), *rest]))
        except Raised as problem:
            raise MachineError(f"an argument of {entry}() is refused: {problem.message}") from None
        except Exhausted as problem:
            machine._fault(_EXHAUSTED[problem.budget], f"the arguments need more {problem.budget}", problem.budget)
        return machine

    # What a host reads.

    @property
    def run_id(self) -> bytes:
        """Identity of the run, 32 bytes."""
        return self.runs[0].id

    @property
    def current_run(self) -> bytes:
        """Identity of what executes now: the run, or the private region it waits for."""
        return self.runs[-1].id

    @property
    def in_region(self) -> bool:
        """Whether a private region executes now."""
        return len(self.runs) > 1

    @property
    def fuel_left(self) -> int:
        """Instructions left to the run; what a region may use is already taken off."""
        return self.runs[0].fuel

    @property
    def memory_left(self) -> int:
        """Bytes left before live values are counted again."""
        return self.runs[0].memory

    @property
    def pending(self) -> Effect | None:
        """The effect whose result the program waits for."""
        return self.asked

    # Driving.

    def run(self, fuel: int, public: int | None = None) -> Progress:
        """Go on for about `fuel` instructions; a single long operation may pass the end of a slice.

        Args:
            fuel: instructions, those of private regions too.
            public: stop where a private region begins, and as soon as `fuel_left` is down to this (0: not) outside of
                regions. Where that is does not depend on what regions do.
        """
        left = fuel
        go_on = advance if self.projection else step
        while self.outcome is None:
            if self.asked is not None:
                return Parked(self.asked)
            if left <= 0:
                return Sliced()
            run = self.runs[-1]
            before, operation, stop = run.fuel, run.operation, None
            floor = 0 if run.region or public is None else public
            if floor and before <= floor:
                return Sliced()
            if run.twins > run.limit >> 1:
                merge_twins(run)
            target = before - min(left, STRETCH)
            try:
                stop = go_on(run, target if target > floor else floor)  # noqa: FURB136 - a call takes longer
                if isinstance(stop, Ask):
                    return Parked(self._park(run, stop))
                if stop is not None:
                    self._act(run, stop)
            except Raised as problem:
                self._raised(problem)
            except Exhausted as problem:
                self._spent(problem)
            left -= before - run.fuel
            if self.begun is not None:  # a slice does not pay beforehand for what a region or a child may use
                left += self.begun.fuel
                self.begun = None
            if public is not None and type(stop) is Enter and not run.region and run.operation > operation:
                return Sliced(entered=True)
        return self.outcome

    def resume(self, value: Value) -> None:
        """Answer the pending effect. The value is copied in; a boxed effect's is boxed.

        Raises:
            MachineError: nothing is pending, or the value is not one that this effect can have.
        """
        effect = self.asked if self.asked is not None else self._answered()
        run = self.runs[-1]
        releases = (effect.boxed or value is not None) and EFFECTS[effect.name].releases
        if releases and value is not None:
            raise MachineError(f"{effect.name} resumes with None")
        try:
            if effect.boxed and not releases:
                result = self._box_result(run, effect, value)
            elif paid(run, (value,)):
                result = value
            else:
                result = admit(run, (value,))[0]
                check_labels(run, result)
        except Raised as problem:
            raise MachineError(f"the result of {effect.name} is refused: {problem.message}") from None
        except Exhausted as problem:
            self.asked = None
            self._spent(problem)
            return
        self.asked = None
        run.frames[-1].stack.append(result)
        if type(result) is Box:
            self._forget(result)

    def take(self, child: Machine) -> None:
        """Answer a pending `task.join` with what a child of this run has returned; its boxes come with what they hold.

        Raises:
            MachineError: no `task.join` is pending, the child has not returned, or (in a forged state) one of its
                boxes has the identity of a box of this run and another label.
        """
        effect, run = self._answered(), self.runs[0]
        if effect.name != "task.join" or not isinstance(child.outcome, Done):
            raise MachineError(f"{effect.name} is not answered with a child's result; join one that has returned")
        came = {value.id: value for value in walk((child.outcome.value,)) if type(value) is Box}
        charges: list[int] = []
        try:
            if came:
                # What `run.boxes` still holds says nothing: when it forgets may depend on regions.
                live = list(walk(run.roots()))
                run.spend(len(live) >> 3)
                held = {value.id: value.label for value in live if type(value) is Box}
                if any(held.get(box.id, box.label) != box.label for box in came.values()):
                    raise MachineError("a box of the child has another label than this run's of the same identity")
                came = {identity: box for identity, box in came.items() if identity not in held}
                contents = {identity: child.runs[0].boxes[identity] for identity in came}
                charges = [content.charge for content in contents.values()]
                run.boxes.update(contents)  # first: whoever counts live values looks them up
            for charge in charges:
                run.allocate(charge)
            value = copy_values(run, (child.outcome.value,))[0]
        except Exhausted as problem:
            self.asked = None
            self._spent(problem)
            return
        self.asked = None
        run.frames[-1].stack.append(value)
        for box in came.values():
            self._forget(box)

    def throw(self, type_name: str, message: str) -> None:
        """Let the pending effect fail as an exception of the language; for boxed effects it goes into the box.

        A release may only be thrown at for reasons that do not depend on its payload.

        Raises:
            MachineError: nothing is pending, or the class is not one of `EXCEPTIONS`.
        """
        effect = self._answered()
        if type_name not in EXCEPTIONS:
            raise MachineError(f"{type_name} is not an exception of the language: {', '.join(EXCEPTIONS)}")
        run = self.runs[-1]
        self.asked = None
        if effect.boxed and not EFFECTS[effect.name].releases:
            error = RegionError(type_name, message, type_name)
            try:
                box = self._new_box(run, effect, error)
            except Exhausted as problem:
                self._spent(problem)
            else:
                run.frames[-1].stack.append(box)
                self._forget(box)
            return
        self._raised(Raised(type_name, message))

    def cancel(self, message: str) -> None:
        """Raise `Cancelled` in the public world, where it stands: a pending effect and private regions are given up.

        The run goes on with its `finally` blocks, and may catch it. A host that cancels records where it did
        (`pending`, `fuel_left`), as it records the results of effects.
        """
        if self.outcome is None:
            between = self.asked is None and len(self.runs) == 1
            self.asked = None
            del self.runs[1:]
            self._raised(Raised("Cancelled", message), between=between)

    # For the host's own use.

    def open(self, box: Box) -> Value | RegionError:
        """What a box of this machine holds. For release mechanisms and interpreters of the host, never for a program.

        Raises:
            MachineError: not a box of this machine.
        """
        content = self.runs[0].boxes.get(box.id)
        if content is None:
            raise MachineError("the box is not one of this machine")
        return content.content

    def handles(self) -> list[Handle]:
        """Every handle that the state can still reach, in boxes too, in a fixed order: what a host must keep."""
        return [value for value in walk(self.roots(), self.runs[0].boxes) if type(value) is Handle]

    def roots(self) -> list[Value]:
        """The values that the state begins with."""
        roots = [value for run in self.runs for value in run.roots()]
        if self.asked is not None:
            roots.extend(self.asked.args.values())
        if isinstance(self.outcome, Done):
            roots.append(self.outcome.value)
        return roots

    def dump(self) -> bytes:
        """The whole state as canonical bytes.

        Raises:
            MachineError: larger than `MAX_SNAPSHOT_BYTES`.
        """
        return dump(self)

    @staticmethod
    def load(verified: VerifiedProgram, snapshot_bytes: bytes, *, projection: bool = True) -> Machine:
        """The machine that `dump` wrote.

        Args:
            verified: the program.
            snapshot_bytes: untrusted bytes.
            projection: as in `start`.

        Raises:
            DecodeError: not the canonical encoding of a snapshot.
            SnapshotInvalid: not a state of this program.
        """
        machine = _loader()(verified, snapshot_bytes)
        machine.projection = projection
        return machine

    def __repr__(self) -> str:
        state = "ended" if self.outcome is not None else "parked" if self.asked is not None else "ready"
        return f"Machine({self.run_id.hex()[:12]}, {state}, fuel {self.fuel_left})"

    # Inside.

    def _answered(self) -> Effect:
        if self.asked is None:
            raise MachineError("no effect is pending; call run() and answer what it parks with")
        return self.asked

    def _act(self, run: Run, stop: Enter | Fork | Return) -> None:
        if isinstance(stop, Enter):
            self._enter(run, stop)
        elif isinstance(stop, Fork):
            self._fork(run, stop)
        else:
            self._return(run, stop.value)

    def _park(self, run: Run, ask: Ask) -> Effect:
        """Ask the host for an effect, if this world may have it with these arguments."""
        spec = EFFECTS[ask.name]
        world: World = "region" if run.region else "public"
        if world not in spec.worlds:
            raise Raised("RuntimeError", f"{spec.name} is not an effect of the {world} world")
        values = ask.args.values()
        if not spec.releases and paid(run, values):
            return self._ask(run, spec, ask.args, boxed=False)
        # Copied first, so that looking at them is paid for where they are refused too.
        args = dict(zip(ask.args, copy_values(run, values)))  # noqa: B905 - as many as there are
        private = private_things(args.values())
        if run.region:
            refuse_box(f"give {spec.name}()", *private)
            private = []
        boxes = private
        if spec.releases:
            if type(args["box"]) is not Box:
                raise Raised(
                    "TypeError", f"{spec.name}() releases a box: pass the result of private(...) as the first argument"
                )
            boxes = private_things(value for name, value in args.items() if name != "box")
        if boxes and (spec.releases or not spec.boxed):
            refuse_box(f"give {spec.name}()", *boxes)
            raise Raised(
                "TypeError", f"{spec.name}() does not take a {type_name(boxes[0])} that is labelled {boxes[0].label}"
            )
        return self._ask(run, spec, args, boxed=bool(private))

    def _ask(self, run: Run, spec: EffectSpec, args: dict[str, Value], *, boxed: bool) -> Effect:
        occurrence = _occurrence((run.id, run.operation))
        run.operation += 1
        self.asked = effect = Effect(spec.name, args, occurrence, spec.durability, run.label, boxed)
        return effect

    @staticmethod
    def _check_limits(what: str, fuel: Value, memory: Value) -> None:
        """The budgets of a region or a child are numbers that the run may hand over."""
        for name, limit, most in (("fuel", fuel, MAX_FUEL), ("memory", memory, MAX_MEMORY_BYTES)):
            if type(limit) is not int or not 0 < limit <= most:
                refuse_box(f"take {name}= from", limit)
                raise Raised("TypeError", f"{what}() needs {name}= as a public int from 1 to {most}")

    def _enter(self, run: Run, enter: Enter) -> None:
        """Charge the region to the world around it, and start it on copies of its arguments."""
        if len(self.runs) > MAX_NESTED_REGIONS:
            raise Raised("RuntimeError", f"private regions are nested deeper than {MAX_NESTED_REGIONS}")
        if enter.function is None and type(enter.callee) is not FunctionValue:
            refuse_box("call", enter.callee)
            raise Raised("TypeError", f"private() starts a function, not a '{type_name(enter.callee)}'")
        self._check_limits("private", enter.fuel, enter.memory)
        given = [enter.callee, *enter.args]
        label = Label.join_all(value.label for value in private_things(given, run)).join(run.label)
        run.hand_over(enter.fuel)
        run.allocate(max(enter.memory, REGION_BYTES) + bytes_of_label(label))  # what storing it takes, and its label
        child = child_run(run.id, run.operation, 0)
        run.operation += 1
        region = Run(run.program, child, label, region=True, operation=0, fuel=enter.fuel, memory=enter.memory,
                     limit=enter.memory, frames=[], boxes=run.boxes)  # fmt: skip
        self.runs.append(region)
        self.begun = region
        try:
            callee, *args = copy_values(region, given, self._open_for_region, extent="functions")
            if enter.function is not None:
                region.frames.append(new_frame(region, enter.function, args))
            else:
                region.frames.append(call_value(region, callee, args, {}))
        except _ErrorInside as problem:
            self._leave(problem.content)
        # What else fails here fails inside of the region: `run` turns it into the box.

    def _fork(self, run: Run, fork: Fork) -> None:
        """Ask the host for a child: a run of its own, with budgets that are taken off this one's for good."""
        if run.region:
            raise Raised("RuntimeError", "task.spawn is not an effect of the region world")
        self._check_limits("fork" if fork.callee is None else "spawn", fork.fuel, fork.memory)
        run.hand_over(fork.fuel)
        with run.making([fork.callee, *fork.args]):  # a box among them goes on to be held, by the child
            run.allocate(fork.memory)
        run.limit -= fork.memory
        self.begun = child = self._child_run(child_run(run.id, run.operation, 0), fork.fuel, fork.memory)
        try:
            child.frames.extend(_begin(child, run, fork))
            _settle(child)
        except Exhausted as problem:
            raise Raised("ValueError", f"the child's {problem.budget} does not suffice to begin") from None
        args = {"child": Suspended(tuple(child.frames), waiting=False), "fuel": fork.fuel, "memory": fork.memory}
        self._ask(run, EFFECTS["task.spawn"], args, boxed=False)

    def _child_run(self, identity: bytes, fuel: int, memory: int) -> Run:
        return Run(self.program, identity, PUBLIC, region=False, operation=0, fuel=fuel, memory=memory, limit=memory,
                   frames=[], boxes=dict(self.runs[0].boxes))  # fmt: skip

    def child(self) -> Machine:
        """The machine of the child that the pending `task.spawn` asks for, before its first step.

        It is a run of its own: dump it and drive it like any other. Its identity follows from the occurrence, so that
        a host that makes it twice makes the same. The effect resumes with a handle of kind `task`.

        Raises:
            MachineError: no `task.spawn` is pending.
        """
        effect = self._answered()
        if effect.name != "task.spawn":
            raise MachineError(f"{effect.name} is pending, which begins no child")
        fuel, memory = effect.args["fuel"], effect.args["memory"]
        run = self._child_run(child_run(effect.occurrence.run, effect.occurrence.operation, 0), fuel, memory)
        machine = Machine(self.program, [run], projection=self.projection)
        try:
            run.frames.extend(copy_frames(run, effect.args["child"].frames))
            _settle(run)
        except Exhausted as problem:  # then it has failed before its first step
            machine._spent(problem)
        return machine

    def _open_for_region(self, box: Box) -> Value:
        content = self.open(box)
        if isinstance(content, RegionError):
            raise _ErrorInside(content)
        return content

    def _return(self, run: Run, value: Value) -> None:
        """The first function of a run has returned: a region gets its box, the public world is done."""
        boxes, work = False, 0
        for inner in walk((value,)):
            work += work_of(inner)
            if type(inner) in INNER_KINDS:
                run.spend(work >> 3)  # paid here alone: who returns looks once, a handler could have it done again
                raise Raised("TypeError", f"the result holds a {type_name(inner)}, which does not leave the run; "
                             "return list(...) of an iterator, str(e) of an exception")  # fmt: skip
            boxes = boxes or type(inner) is Box
        if run.region:
            self._leave(self._unboxed(run, value) if boxes else value)
        else:
            run.frames.clear()
            self.outcome = Done(value)

    def _unboxed(self, region: Run, value: Value) -> Value | RegionError:
        """The result of a region that holds boxes of regions inside of it: a box holds no boxes."""
        try:
            return copy_values(region, [value], self._open_for_region)[0]
        except _ErrorInside as problem:
            return problem.content

    def _leave(self, content: Value | RegionError) -> None:
        """End the region: its result or error becomes a box of the public world."""
        region = self.runs.pop()
        run = self.runs[-1]
        if isinstance(content, RegionError):
            content = within(content, region.limit)
        box = Box(digest_parts("box", run.id, (run.operation - 1).to_bytes(8, "big")), region.label)
        _put(run, box, BoxContent(content, region.limit))
        run.frames[-1].stack.append(box)
        self._forget(box)

    def _forget(self, box: Box) -> None:
        """After a new box: drop what the boxes hold that nothing reaches, before it is more than the run may hold.

        What counts is what they hold and not their charge: that took fuel to make, and so pays for looking at all.
        """
        self.boxed += OPAQUE_BYTES + _bytes_of_content(self.runs[0].boxes[box.id].content)
        if self.boxed > self.runs[0].limit:
            self.boxed = 0
            boxes = self.runs[0].boxes
            for lost in boxes.keys() - {value.id for value in walk(self.roots()) if type(value) is Box}:
                del boxes[lost]

    def _box_result(self, run: Run, effect: Effect, value: Value) -> Box:
        """Box the result of an effect on boxes. What it holds is paid for by a budget of its own, the same for all."""
        most = BOX_BYTES - OPAQUE_BYTES
        purse = Run(run.program, run.id, run.label, region=True, operation=0, fuel=BOX_BYTES, memory=most,
                    limit=most, frames=[], boxes={})  # fmt: skip
        content: Value | RegionError
        label = self._label_of_result(effect)
        try:
            content = admit(purse, (value,))[0]
            if any(type(inner) is Handle and not inner.label.flows_to(label) for inner in walk((content,))):
                raise Raised("ValueError", f"a handle in it does not flow to its box's label {label}")
        except Exhausted:
            content = RegionError("MemoryError", f"the result of {effect.name} is too large for a box", "memory")
        return self._new_box(run, effect, content)

    def _new_box(self, run: Run, effect: Effect, content: Value | RegionError) -> Box:
        label = self._label_of_result(effect)
        run.allocate(BOX_BYTES + bytes_of_label(label))
        if isinstance(content, RegionError):
            content = within(content, BOX_BYTES)
        box = Box(digest_parts("box", run.id, effect.occurrence.operation.to_bytes(8, "big")), label)
        _put(run, box, BoxContent(content, BOX_BYTES))
        return box

    @staticmethod
    def _label_of_result(effect: Effect) -> Label:
        return Label.join_all(value.label for value in private_things(effect.args.values()))

    def _raised(self, problem: Raised, *, between: bool = False) -> None:
        """Go on in a handler, or end what executes now."""
        run = self.runs[-1]
        try:
            if unwind(run, problem, between=between):
                return
        except Exhausted as spent:
            self._spent(spent)
            return
        line = problem.value.line if problem.value is not None else 0
        self._fault(problem.type_name, text_of(run, problem), problem.type_name, line)

    def _spent(self, problem: Exhausted) -> None:
        """A budget is spent: no handler sees that."""
        self._fault(_EXHAUSTED[problem.budget], problem.detail, problem.budget)

    def _fault(self, type_name: str, message: str, code: str, line: int = 0) -> None:
        """End what executes now with an error: a region in its box, the public world as failed."""
        run = self.runs[-1]
        line = line or line_of(run)
        if run.region:
            self._leave(RegionError(type_name, message, code, line))
        else:
            run.frames.clear()
            self.outcome = Failed(code, line, f"{type_name}: {message}" if message else type_name)


@cache
def _loader() -> Callable[[VerifiedProgram, bytes], Machine]:
    from sojourn.vm.restore import load  # noqa: PLC0415 - that module makes machines

    return load


def _put(run: Run, box: Box, content: BoxContent) -> None:
    """Fill a new box. Only a forged state has its identity already: then neither box gives what the other holds."""
    if box.id in run.boxes:
        content = BoxContent(RegionError("RuntimeError", "two boxes with one identity", "RuntimeError"), content.charge)
    run.boxes[box.id] = content


def _bytes_of_content(content: Value | RegionError) -> int:
    if isinstance(content, RegionError):
        return bytes_of_text(content.message)
    return size_of(content) if type(content) in PLAIN else sum(map(size_of, walk((content,))))


def _settle(child: Run) -> None:
    """Boxes and continuations are shared with the run that the child comes from: here the child pays for them."""
    if any(type(value) in _SHARED for value in walk(child.roots())):
        child.recount()


def _begin(child: Run, run: Run, fork: Fork) -> list[Frame]:
    """The frames of a child: of a function that is called, of a continuation, or of the run itself."""
    if fork.callee is None or type(fork.callee) is Suspended:
        if len(fork.args) > 1:
            raise Raised("TypeError", "a continuation goes on with one value")
        frames = copy_frames(child, run.frames if fork.callee is None else fork.callee.frames)
        frames[-1].stack.extend(copy_values(child, fork.args, extent="functions") or [None])
        return frames
    if type(fork.callee) is not FunctionValue:
        refuse_box("call", fork.callee)
        raise Raised("TypeError", f"spawn() starts a function or a continuation, not a '{type_name(fork.callee)}'")
    callee, *args = copy_values(child, [fork.callee, *fork.args], extent="functions")
    frame = call_value(child, callee, args, {})
    return [frame]
