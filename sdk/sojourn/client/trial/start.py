"""How a trial begins: which entry, with what, and what a saved one goes on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from sojourn.agent.data import read_columns
from sojourn.client.parts import NO_PLAN
from sojourn.client.review import Code, streams_of
from sojourn.client.trial.desk import Desk, DeskData, Heard, open_desk
from sojourn.client.trial.rows import read_rows
from sojourn.client.trial.saved import SavedRun
from sojourn.codec import decode, digest_parts
from sojourn.contracts import Plan
from sojourn.datoms import from_safetensors
from sojourn.errors import MachineError, UsageError
from sojourn.labels import PUBLIC
from sojourn.vm import Handle, Machine, RecordValue, Value, VerifiedProgram
from sojourn.vm.effects import AGENT_EFFECTS, ROUNDS_EFFECTS

__all__ = ["chosen_entry", "entry_args", "go_on", "read_plan", "read_weights", "rows_by_stream", "start_trial"]

PLAN_FILE: Final = "plan.sj"


def chosen_entry(program: VerifiedProgram, wanted: str | None, *, rows: bool) -> str:
    """The entry to run: the wanted one, the only one, or with rows the only one that runs on agents.

    Raises:
        UsageError: there is none of that name, or several; the message lists them.
    """
    names = list(program.entries)
    if wanted is not None:
        if wanted not in names:
            raise UsageError(f"the program has no entry {wanted!r}; it has {', '.join(names)}")
        return wanted
    agents = [name for name in names if not program.effects(name) - AGENT_EFFECTS and program.effects(name)]
    if rows and len(names) > 1:
        names = agents
    if len(names) != 1:
        sides = (("an agent", agents), ("a coordinator", [name for name in program.entries if name not in agents]))
        where = ", ".join(f"{side} runs {' or '.join(listed)}" for side, listed in sides if listed)
        alone = f"; with --rows it is {agents[0]}" if len(agents) == 1 and not rows else ""
        raise UsageError(
            f"the program has the entries {', '.join(program.entries)}; say which one: --entry NAME ({where}{alone})"
        )
    return names[0]


def entry_args(program: VerifiedProgram, entry: str, given: Any, number: int, weights: Handle) -> list[Value]:
    """The entry's parameters.

    Args:
        program: whose entry it is.
        entry: its name.
        given: what was written for `--args`: an object is the job's arguments, a list the parameters themselves.
        number: of the round.
        weights: what `order.weights` is.

    Raises:
        UsageError: the entry does not take them.
    """
    code = program.codes[program.entry_index(entry)]
    if isinstance(given, list):
        return list(given)
    if code.params == 0:
        return []
    if code.params - len(code.defaults) > 1:
        raise UsageError(
            f"{entry}() has {code.params} parameters, an order gives one; write --args as a list of that many values"
        )
    args = {str(key): value for key, value in given.items()}
    if program.effects(entry) - AGENT_EFFECTS or (
        code.locals[0] == "job" and not program.effects(entry) - ROUNDS_EFFECTS
    ):
        fields: dict[str, Value] = {
            "name": "trial",
            "initial": Handle("model", weights.id, PUBLIC),
            "args": args,
            "policy": {"name": "fedavg"},
            "participants": 0,
        }
        return [RecordValue("job", fields)]
    return [RecordValue("order", {"weights": weights, "round": number, "args": args})]


def rows_by_stream(
    program: VerifiedProgram, entry: str, given: Sequence[str]
) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """Columns by stream, from what was written for `--rows`: `FILE`, or `STREAM=FILE`.

    Raises:
        UsageError: a file that cannot be read, a stream without a name, or fields that the program reads and the file
            lacks.
    """
    try:
        opened = streams_of(Code(program, "the program"), [entry])
    except UsageError:
        opened = {}
    found: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for text in given:
        name, mark, file = text.partition("=")
        if not mark:
            name, file = next(iter(opened), ""), text
            if len(opened) != 1:
                names = ", ".join(opened) or "no stream by a literal name"
                raise UsageError(f"--rows {text}: {entry} opens {names}; say which stream it is: --rows STREAM={text}")
        if name in found:
            raise UsageError(f"--rows: stream {name!r} is given twice; put its rows into one file")
        found[name] = read_rows(Path(file))
        missing = sorted(set(opened.get(name, ())) - set(found[name]))
        if missing:
            have = ", ".join(sorted(found[name]))
            raise UsageError(
                f"--rows {file}: {entry} reads field {missing[0]!r} of stream {name!r}; the file has {have}"
            )
    absent = sorted(set(opened) - set(found))
    if found and absent:
        raise UsageError(f"{entry} opens stream {absent[0]!r} too; pass --rows {absent[0]}=FILE")
    return found


def read_plan(folder: Path | None) -> tuple[Plan, dict[str, bytes]]:
    """A plan and its graphs from a folder with `plan.sj` and one `NAME.onnx` for each graph.

    Raises:
        UsageError: a file is missing.
        DecodeError: `plan.sj` is no plan.
    """
    if folder is None:
        return NO_PLAN, {}
    try:
        plan = decode(Plan, (folder / PLAN_FILE).read_bytes())
        graphs = {graph.name: (folder / f"{graph.name}.onnx").read_bytes() for graph in plan.graphs}
    except OSError as problem:
        raise UsageError(
            f"--plan {folder}: cannot read {problem.filename}: {problem.strerror}; a plan's folder holds {PLAN_FILE} "
            "(sojourn.codec.encode of the Plan) and one NAME.onnx for each graph"
        ) from None
    return plan, graphs


def read_weights(path: Path | None) -> Mapping[str, npt.NDArray[Any]]:
    """Tensors from a `.safetensors` or an `.npz` file.

    Raises:
        UsageError: it cannot be read.
        DecodeError: it is damaged.
    """
    if path is None:
        return {}
    if path.suffix == ".npz":
        return read_columns(path)
    try:
        tensors, _ = from_safetensors(path.read_bytes())
    except OSError as problem:
        raise UsageError(f"--weights {path}: {problem.strerror}; give a .safetensors or .npz file") from None
    return tensors


def start_trial(
    program: VerifiedProgram,
    entry: str,
    data: DeskData,
    hear: Callable[[Heard], None],
    args: Any,
    number: int,
    fuel: int,
    memory: int,
) -> tuple[Machine, Desk]:
    """A run at its start, and the desk that serves it. The desk is the caller's to close.

    Raises:
        UsageError: rows, plan, weights, arguments or budgets do not fit.
    """
    desk = open_desk(digest_parts("trial", program.digest, entry.encode()), data, hear)
    try:
        values = entry_args(program, entry, args, number, desk.weights)
        machine = Machine.start(program, entry, values, desk.run, fuel, memory)
    except MachineError as problem:
        desk.close()
        raise UsageError(str(problem)) from None
    except BaseException:
        desk.close()
        raise
    desk.attach(machine)
    return machine, desk


def go_on(saved: SavedRun, data: DeskData, hear: Callable[[Heard], None]) -> tuple[Machine, Desk]:
    """A saved run, and the desk that serves it. The desk is the caller's to close.

    Raises:
        UsageError: rows, plan or weights are not those that it was begun with.
    """
    desk = open_desk(saved.machine.run_id, data, hear, saved.body)
    try:
        desk.restore(saved.objects)
    except BaseException:
        desk.close()
        raise
    desk.attach(saved.machine)
    return saved.machine, desk
