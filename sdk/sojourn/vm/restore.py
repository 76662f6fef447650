"""Loading a snapshot: untrusted bytes become a machine, or are refused.

Every frame is checked against the verified program (function, position, depth of the stack, the call it waits for),
every cell against its kind. At the end stands `order`: bytes that are not what the machine would write are refused, so
that order, sharing and reachability of cells need no rules of their own here.
"""

from __future__ import annotations

import itertools
from typing import Final

from sojourn.codec import DIGEST_BYTES, decode
from sojourn.contracts import Occurrence, child_run
from sojourn.errors import SnapshotInvalid
from sojourn.limits import MAX_FRAMES, MAX_FUEL, MAX_MEMORY_BYTES, MAX_SNAPSHOT_BYTES
from sojourn.vm.admission import INNER_KINDS, private_things
from sojourn.vm.cells import CODES, Cells
from sojourn.vm.effects import EFFECTS, TASKS
from sojourn.vm.machine import MAX_NESTED_REGIONS, Machine
from sojourn.vm.op import Op
from sojourn.vm.order import REFERENCES, as_written
from sojourn.vm.program import CONTRACT
from sojourn.vm.progress import Done, Effect, Failed
from sojourn.vm.shells import label_of
from sojourn.vm.snapshot import (
    FIRST_CELL,
    BoxCell,
    CellCell,
    FrameRow,
    FunctionCell,
    PendingRow,
    RunRow,
    Snapshot,
    SuspendedCell,
)
from sojourn.vm.state import Frame, Run
from sojourn.vm.values import UNBOUND, Box, Cell, Handle, Iter, RegionError, SetValue, Suspended
from sojourn.vm.verifier import VerifiedProgram
from sojourn.vm.walking import BoxContent, walk

__all__ = ["load"]

MAX_OPERATION: Final = 1 << 62
_SIMPLE: Final = frozenset((type(None), bool, int, float, str, bytes))
_LEAVES: Final = frozenset((int, str, bytes, Handle, range))
_CHANGING: Final = frozenset((list, dict, SetValue, Cell, Iter))


def load(verified: VerifiedProgram, snapshot_bytes: bytes) -> Machine:
    """See `Machine.load`."""
    snapshot = decode(Snapshot, snapshot_bytes, limit=MAX_SNAPSHOT_BYTES)
    if snapshot.contract != CONTRACT:
        raise SnapshotInvalid(f"a snapshot of execution contract {snapshot.contract}, this host implements {CONTRACT}")
    if snapshot.program != verified.digest:
        raise SnapshotInvalid("a snapshot of another program")
    if not 1 <= len(snapshot.runs) <= 1 + MAX_NESTED_REGIONS:
        raise SnapshotInvalid(f"a snapshot has a public run and at most {MAX_NESTED_REGIONS} private regions in it")
    cells = Cells(snapshot.cells, verified.codes)
    machine = _Loader(verified, snapshot, cells).machine()
    if not as_written(snapshot):
        raise SnapshotInvalid("not the form in which this state is written")
    return machine


class _Loader:
    def __init__(self, program: VerifiedProgram, snapshot: Snapshot, cells: Cells) -> None:
        self.program, self.snapshot, self.cells = program, snapshot, cells
        ends = (snapshot.pending is not None) + (snapshot.done != 0) + (snapshot.failed is not None)
        if ends > 1:
            raise SnapshotInvalid("a run is both waiting and ended")
        self.ended = snapshot.pending is None and ends == 1
        self.shared = CellCell in cells.kinds

    def machine(self) -> Machine:
        snapshot = self.snapshot
        if self.shared:
            self._variables()
        if SuspendedCell in self.cells.kinds:
            self._suspended()
        boxes = dict(self.cells.boxes)
        runs = [self._run(row, position, boxes) for position, row in enumerate(snapshot.runs)]
        machine = Machine(self.program, runs)
        for run, region in itertools.pairwise(runs):
            self._nested(run, region)
        if self.ended:
            if len(runs) > 1 or runs[0].frames:
                raise SnapshotInvalid("a run that has ended still has frames")
            machine.outcome = self._outcome()
        elif not runs[-1].frames:
            raise SnapshotInvalid("a run that goes on has no frames")
        if snapshot.pending is not None:
            machine.asked = self._pending(snapshot.pending, runs[-1])
        self._worlds(machine)
        return machine

    def _variables(self) -> None:
        """A shared variable is in frames and in functions, and never a value of its own."""
        cells = self.snapshot.cells
        shared = {ref for ref, cell in enumerate(cells, FIRST_CELL) if isinstance(cell, CellCell)}
        for cell in cells:
            if isinstance(cell, SuspendedCell):
                refs: tuple[int, ...] = tuple(ref for frame in cell.frames for ref in frame.stack)
            elif isinstance(cell, FunctionCell):
                refs = cell.defaults
            else:
                refs = tuple(REFERENCES[type(cell)](cell)) if type(cell) in REFERENCES else ()
            if not shared.isdisjoint(refs):
                raise SnapshotInvalid("a shared variable is held as if it were a value")
        if any(not shared.isdisjoint(frame.stack) for run in self.snapshot.runs for frame in run.frames):
            raise SnapshotInvalid("a shared variable is held as if it were a value")

    def _suspended(self) -> None:
        """Continuations as values, once everything that their frames hold is there."""
        for ref, cell in enumerate(self.snapshot.cells, FIRST_CELL):
            if isinstance(cell, SuspendedCell):
                if not 0 < len(cell.frames) <= MAX_FRAMES:
                    raise SnapshotInvalid("a continuation has no frames, or too many")
                frames = self._frames(cell.frames, waits=cell.waiting)
                self.cells.values[ref].frames = tuple(frames)

    def _frames(self, rows: tuple[FrameRow, ...], *, waits: bool) -> list[Frame]:
        frames = []
        for k, frame in enumerate(rows):
            top = k == len(rows) - 1
            frames.append(self._frame(frame, waiting=not top or waits))
            if not top:
                self._waits_for(frame, rows[k + 1].function)
        return frames

    def _run(self, row: RunRow, position: int, boxes: dict[bytes, BoxContent]) -> Run:
        last = position == len(self.snapshot.runs) - 1
        if not 0 <= row.fuel <= MAX_FUEL or not 0 <= row.memory <= row.limit <= MAX_MEMORY_BYTES:
            raise SnapshotInvalid("a budget is out of range")
        # An operation takes fuel: from here the run does not get to a number that would be refused.
        if len(row.id) != DIGEST_BYTES or not 0 <= row.operation <= MAX_OPERATION - row.fuel:
            raise SnapshotInvalid("the identity of a run is out of range")
        label = label_of(row.sources)
        if position == 0 and not label.is_public:
            raise SnapshotInvalid("the public world has a label")
        if len(row.frames) > MAX_FRAMES:
            raise SnapshotInvalid(f"more than {MAX_FRAMES} frames")
        waits = not last or self.snapshot.pending is not None
        frames = self._frames(row.frames, waits=waits)
        return Run(self.program, row.id, label, position > 0, row.operation, row.fuel, row.memory, row.limit,
                   frames, boxes)  # fmt: skip

    def _frame(self, row: FrameRow, *, waiting: bool) -> Frame:
        codes, function, pc = self.program.codes, row.function, row.pc
        if not 0 <= function < len(codes):
            raise SnapshotInvalid("a frame of a function that the program does not have")
        code = codes[function]
        if not 0 <= pc < len(code.instructions) or code.depth[pc] - waiting != len(row.stack):
            raise SnapshotInvalid(f"a frame of {code.name} stands where it cannot")
        if len(row.locals) != len(code.locals):
            raise SnapshotInvalid(f"a frame of {code.name} has other variables")
        values, stack = self.cells.all(row.locals), self.cells.all(row.stack)
        for position in code.loops:
            if values[position] is not UNBOUND and type(values[position]) is not Iter:
                raise SnapshotInvalid(f"a loop of {code.name} has no iterator")
        if code.boxed or self.shared:
            shared = {position for position, value in enumerate(values) if type(value) is Cell}
            if shared != code.boxed:
                raise SnapshotInvalid(f"a variable of {code.name} is shared, or not shared, against its code")
        if 0 in row.stack:
            raise SnapshotInvalid("the stack holds no value where one is due")
        return Frame(function, pc, values, stack)

    def _waits_for(self, row: FrameRow, function: int) -> None:
        op, a, _ = self.program.codes[row.function].instructions[row.pc - 1] if row.pc > 0 else (0, 0, 0)
        if (op != Op.CALL or a != function) and op not in (Op.CALL_VALUE, Op.CALL_SPREAD):
            raise SnapshotInvalid("a frame waits for a call that its function does not make there")

    def _nested(self, run: Run, region: Run) -> None:
        if not run.frames or run.operation == 0 or region.id != child_run(run.id, run.operation - 1, 0):
            raise SnapshotInvalid("a private region that the run around it does not wait for")
        if not run.label.flows_to(region.label):
            raise SnapshotInvalid("a private region with less of a label than the one around it")
        top = run.frames[-1]
        op, a, _ = self.program.codes[top.function].instructions[top.pc - 1] if top.pc > 0 else (0, 0, 0)
        started = op == Op.PRIVATE_VALUE or (op == Op.PRIVATE and (not region.frames or region.frames[0].function == a))
        if not started:
            raise SnapshotInvalid("the run does not stand at a private region")

    def _pending(self, row: PendingRow, run: Run) -> Effect:
        if not run.frames or run.operation == 0 or row.name not in EFFECTS:
            raise SnapshotInvalid("an effect is pending that nothing asked for")
        frame = run.frames[-1]
        code = self.program.codes[frame.function]
        op, a, _ = code.instructions[frame.pc - 1] if frame.pc > 0 else (0, 0, 0)
        if row.name == "task.spawn":
            return self._spawning(row, run, op)
        if op != Op.EFFECT or self.program.program.names[a] != row.name or code.effects[frame.pc - 1] != row.params:
            raise SnapshotInvalid("the run does not stand at the effect that is pending")
        spec = EFFECTS[row.name]
        if ("region" if run.region else "public") not in spec.worlds:
            raise SnapshotInvalid(f"{row.name} is pending in a world that does not have it")
        if len(row.args) != len(row.params):
            raise SnapshotInvalid("an effect's arguments are not as many as its parameters")
        args = dict(zip(row.params, self.cells.all(row.args)))  # noqa: B905 - as many, as checked
        simple = _SIMPLE.issuperset(map(type, args.values()))
        if not simple and any(type(value) in INNER_KINDS for value in walk(args.values())):
            raise SnapshotInvalid("an effect's arguments are not plain values")
        private = [] if simple or run.region else private_things(args.values())
        outside = private_things(v for k, v in args.items() if k != "box") if spec.releases else private
        if (outside and (spec.releases or not spec.boxed)) or (spec.releases and type(args["box"]) is not Box):
            raise SnapshotInvalid("a private argument where the effect takes none")
        occurrence = Occurrence(run.id, run.operation - 1)
        return Effect(row.name, args, occurrence, spec.durability, run.label, bool(private))

    def _spawning(self, row: PendingRow, run: Run, op: int) -> Effect:
        """A child that is about to begin."""
        if run.region or op not in TASKS or row.params != ("child", "fuel", "memory") or len(row.args) != 3:
            raise SnapshotInvalid("a child begins where nothing asked for it")
        child, fuel, memory = (self.cells.value(ref) for ref in row.args)
        if type(child) is not Suspended or child.waiting:
            raise SnapshotInvalid("a child begins without frames")
        if type(fuel) is not int or type(memory) is not int or not 0 < fuel <= MAX_FUEL:
            raise SnapshotInvalid("a child's budget is out of range")
        if not 0 < memory <= MAX_MEMORY_BYTES:
            raise SnapshotInvalid("a child's budget is out of range")
        args = {"child": child, "fuel": fuel, "memory": memory}
        occurrence = Occurrence(run.id, run.operation - 1)
        return Effect(row.name, args, occurrence, EFFECTS[row.name].durability, run.label, boxed=False)

    def _outcome(self) -> Done | Failed:
        failed = self.snapshot.failed
        if failed is None:
            value = self.cells.value(self.snapshot.done)
            if any(type(inner) in INNER_KINDS for inner in walk((value,))):
                raise SnapshotInvalid("a run ended with what is no plain value")
            return Done(value)
        code, line, detail = failed
        if code not in CODES or not 0 <= line < MAX_OPERATION:
            raise SnapshotInvalid("a run failed with a code that there is not")
        return Failed(code, line, detail)

    def _contents(self, machine: Machine) -> None:
        """What a box holds flows to its label, and no two boxes share what can change: each is looked at once."""
        seen: set[int] = set()
        boxes = machine.runs[0].boxes
        for box in [value for value in walk(machine.roots(), boxes) if type(value) is Box]:
            content = boxes[box.id].content
            for value in walk(() if isinstance(content, RegionError) else (content,)):
                if type(value) is Handle and not value.label.flows_to(box.label):
                    raise SnapshotInvalid("a box holds a handle that does not flow to its label")
                if type(value) in _LEAVES or value == ():
                    continue
                if id(value) in seen:
                    raise SnapshotInvalid("two boxes share what they hold")
                seen.add(id(value))

    def _apart(self, machine: Machine) -> None:
        """Nothing that can change is held by two of the runs, or by a run and a box: what goes over is copied."""
        seen: set[int] = set()
        worlds = [run.roots() for run in machine.runs]
        held = [box.content for box in machine.runs[0].boxes.values() if not isinstance(box.content, RegionError)]
        for world in (*worlds, held):
            changing = {id(value) for value in walk(world) if type(value) in _CHANGING}
            if not seen.isdisjoint(changing):
                raise SnapshotInvalid("two worlds share what can change")
            seen |= changing

    def _worlds(self, machine: Machine) -> None:
        """No box inside of a box; no handle or box in a region that is labelled beyond it."""
        if BoxCell in self.cells.kinds:
            for value in walk(row.content for row in machine.runs[0].boxes.values()):
                if type(value) is Box or type(value) in INNER_KINDS:
                    raise SnapshotInvalid("a box holds another one, or what is no plain value")
            self._contents(machine)
        if len(machine.runs) > 1:
            self._apart(machine)
        for run in machine.runs[1:]:
            asked = machine.asked.args.values() if machine.asked is not None and run is machine.runs[-1] else ()
            for value in walk((*run.roots(), *asked)):
                if type(value) in (Handle, Box) and not value.label.flows_to(run.label):
                    raise SnapshotInvalid("a handle or box in a region that does not flow to its label")
            if any(type(value) is Box for value in walk(asked)):
                raise SnapshotInvalid("an effect in a region is given a box")
        if SuspendedCell not in self.cells.kinds:
            return
        effect = machine.asked
        begins = effect.args["child"].frames if effect is not None and effect.name == "task.spawn" else ()
        child = [value for frame in begins for value in (*frame.locals, *frame.stack)]
        held = (value for roots in (*[run.roots() for run in machine.runs], child) for value in walk(roots))
        if any(type(value) is Suspended and not value.waiting for value in held):
            raise SnapshotInvalid("a continuation that waits for nothing")
