"""The host at an author's desk: the agent's effects, releases, ledger and log, on rows and graphs of the author's own.

Rules of this module:

* `sojourn.agent.effects.Effects` carries every effect out that it can; this module only decides whether it can, and
  says what happened.
* An owner's policy is not asked, there is none: whatever the program releases is let out with the numbers that it
  gives, under the rules of an answer (each kind and name once, in the order made). `Desk.releases` is what a job's
  phase and a policy would have to hold.
* Rows, ledger and log lie in a temporary folder of this user's that is deleted with the desk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sojourn.agent.data import AdmittedStreams, AgentStreams, fields_of
from sojourn.agent.effects import Broken, Effects, Given
from sojourn.agent.objects import Loaders, ObjectTable, Tensors, Weights
from sojourn.agent.owner import OwnerLog
from sojourn.agent.records import ColumnRef, CursorRef, Raised, SealedObject, StreamRef, WeightsRef
from sojourn.agent.releases import LedgerReleases, released_in_run
from sojourn.agent.runs import complete_state
from sojourn.client.parts import NO_PLAN
from sojourn.client.phases import count, mean, total, update
from sojourn.codec import digest, digest_parts
from sojourn.contracts import Occurrence, Plan, Released, ReleaseSpec, Scalar
from sojourn.datoms import BlockKind, pack_list
from sojourn.errors import AdmissionRefused, GraphFailed, UsageError
from sojourn.interpreters import OnnxInterpreter, PlanHandle
from sojourn.labels import PUBLIC
from sojourn.limits import MAX_RELEASES
from sojourn.privacy import Admission, PrivacyLedger
from sojourn.vm import Box, Effect, Handle, Machine, RegionError, Value
from sojourn.vm.effects import AGENT_EFFECTS
from sojourn.vm.walking import walk

__all__ = ["OWNER", "Desk", "DeskData", "Heard", "open_desk"]

OWNER: Final = "author"
"""The owner of the rows, in labels."""

NOW_MS: Final = 0  # in the ledger of a trial nobody looks at times


@dataclass(frozen=True, slots=True)
class Heard:
    """A line of the owner's log, as it is written: private details are in it, and the rows are the author's own."""

    event: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeskData:
    """What an author brings.

    Attributes:
        streams: columns of each stream by name; empty where there are no rows.
        plan: manifest of the graphs; without any in it, `gpu.run` is not carried out.
        graphs: ONNX files by name.
        weights: tensors that `order.weights` stands for; those of the plan's state that are missing begin as zeros.
        clip: bound of an update.
        max_weight: largest weight of an update.
    """

    streams: Mapping[str, Mapping[str, npt.NDArray[Any]]] = field(default_factory=dict)
    plan: Plan = NO_PLAN
    graphs: Mapping[str, bytes] = field(default_factory=dict)
    weights: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    clip: float = 1.0
    max_weight: int = 1_000_000


class _HeardLog(OwnerLog):
    """The agent's log, read aloud."""

    def __init__(self, path: Path, hear: Callable[[Heard], None]) -> None:
        super().__init__(path)
        self._hear = hear

    def info(self, event: str, **fields: object) -> None:
        super().info(event, **fields)
        self._hear(Heard(event, fields))

    def warning(self, event: str, **fields: object) -> None:
        super().warning(event, **fields)
        self._hear(Heard(event, fields))

    def note(self, occurrence: Occurrence, text: str) -> None:
        super().note(occurrence, text)
        self._hear(Heard("note", {"text": text}))


class _Guard:
    """Lets every release out that one answer can hold, and writes down what that answer is."""

    def __init__(self, clip: float, max_weight: int) -> None:
        self._clip, self._max_weight = clip, max_weight
        self.specs: list[ReleaseSpec] = []

    def check_release(
        self, kind: str, name: str, parameters: Mapping[str, Scalar], *, position: int | None = None
    ) -> ReleaseSpec:
        if any((spec.kind, spec.name) == (kind, name) for spec in self.specs):
            raise AdmissionRefused(f"the program releases {kind} {name!r} twice; an answer holds each once: rename one")
        if position is not None and position >= MAX_RELEASES:
            raise AdmissionRefused(f"the program makes more than {MAX_RELEASES} releases, which no answer holds")
        try:
            self.specs.append(self._spec(kind, name, parameters))
        except (TypeError, ValueError):
            raise AdmissionRefused(f"the bounds of {kind} {name!r} are no numbers: {dict(parameters)}") from None
        return self.specs[-1]

    def _spec(self, kind: str, name: str, parameters: Mapping[str, Any]) -> ReleaseSpec:
        if kind == "update":
            return update(clip=self._clip, max_weight=self._max_weight)
        if kind == "count":
            return count(name, **parameters)
        return (mean if kind == "mean" else total)(name, **parameters)


class Desk:
    """Carries out effects of one run. Make it with `open_desk`; close it, or use `with`.

    Args:
        run: the run's id.
        data: what the author brings.
        hear: takes what the log says.
        body: joined datoms of a handle of a saved run.

    Raises:
        UsageError: rows, plan or weights do not fit.
    """

    def __init__(
        self, run: bytes, data: DeskData, hear: Callable[[Heard], None], body: Callable[[bytes], bytes]
    ) -> None:
        self.run, self.data = run, data
        self._folder = TemporaryDirectory(prefix="sojourn-trial-")
        folder = Path(self._folder.name)
        self._own = AgentStreams(folder / "streams")
        admission = Admission(
            rule=0,
            title="--rows",
            owner=OWNER,
            policy=digest(b"no policy: a trial on rows of the author's own"),
            streams={name: frozenset(columns) for name, columns in data.streams.items()},
            effects=AGENT_EFFECTS,
            releases=(),
        )
        self._streams = AdmittedStreams(self._own, admission)
        self._log = _HeardLog(folder / "owner.log", hear)
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self.ledger = PrivacyLedger(self._connection, folder / "outputs")
        self._guard = _Guard(data.clip, data.max_weight)
        self._interpreter: OnnxInterpreter | None = None
        self._loaded: PlanHandle | None = None
        self.weights = Handle("state", digest_parts("handle/weights", run), PUBLIC)
        self.objects = ObjectTable(Loaders(body, self._streams.read, self._complete))
        self._effects: Effects | None = None
        self._machine: Machine | None = None
        self._policy = admission.policy

    def prepare(self) -> None:
        """Take in rows, graphs and weights.

        Raises:
            UsageError: they do not fit.
            GraphRefused: a graph holds what no graph may hold.
        """
        for name, columns in self.data.streams.items():
            self._own.create(name, fields_of(columns))
            self._own.append(name, columns)
        if self.data.plan.graphs:
            self._interpreter = OnnxInterpreter("cpu")
            self._loaded = self._interpreter.load(self.data.plan, self.data.graphs)
        state = self._complete()
        _, root = pack_list(state, BlockKind.WEIGHT)
        self.objects.put(self.weights.id, Weights(root, state))

    def _complete(self) -> Mapping[str, npt.NDArray[Any]]:
        """The plan's whole state; an agent gets it from the coordinator, and zeros for what is not trained."""
        zeros = {
            tensor.name: np.zeros(tensor.shape, np.float32)
            for tensor in self.data.plan.state
            if tensor.trained and tensor.name not in self.data.weights
        }
        return complete_state(self.data.plan, {**zeros, **self.data.weights})

    def restore(self, objects: Iterable[SealedObject]) -> None:
        """Take up what the handles of a saved run stand for. Rows are compared with their digests when they are read.

        Raises:
            UsageError: the weights or the streams are not those that the run was begun with.
        """
        for entry in objects:
            if isinstance(entry.ref, WeightsRef):
                if self.objects.refer(self.weights.id) != entry.ref:
                    raise UsageError("the run was begun with other weights; pass the same --weights and --plan")
            elif isinstance(entry.ref, StreamRef | CursorRef | ColumnRef):
                self._check_stream(entry.ref.name, entry.ref.extent)
            self.objects.restore(entry.handle, entry.ref)

    def _check_stream(self, name: str, extent: int) -> None:
        columns = self.data.streams.get(name)
        rows = 0 if columns is None else len(next(iter(columns.values())))
        if columns is None or rows < extent:
            raise UsageError(f"the run has opened {extent} rows of stream {name!r}; pass the same --rows {name}=FILE")

    def attach(self, machine: Machine) -> None:
        """Serve this machine, whose run the desk was made for."""
        releases = LedgerReleases(
            self.run, self.data.plan, self._guard, self._policy, self.ledger, self.objects, self._log, lambda: NOW_MS,
            machine.program.program.modules,
        )  # fmt: skip
        self._machine = machine
        self._effects = Effects(self.run, machine, self.objects, self._streams, self._graph, releases, self._log)

    def _graph(self, graph: str, inputs: Mapping[str, Tensors]) -> Mapping[str, Tensors]:
        if self._interpreter is None or self._loaded is None:
            raise GraphFailed("there is no plan here; pass --plan FOLDER")
        return self._interpreter.run(self._loaded, graph, inputs)

    @property
    def releases(self) -> tuple[ReleaseSpec, ...]:
        """What an answer would have to hold, in the order in which it was released."""
        return tuple(self._guard.specs)

    def released(self) -> tuple[tuple[Released, ...], bytes]:
        """What would leave: the answer's statements, and the update's stream (empty: none)."""
        return released_in_run(self.ledger, self.run)

    def serves(self, effect: Effect) -> bool:
        """Whether the agent's code can carry this effect out with what the author brought."""
        if effect.name not in AGENT_EFFECTS or effect.name.startswith("task."):
            return False  # a trial has one run: whoever sits there answers for its children
        if effect.name == "stream.open":
            return bool(self.data.streams)
        if effect.name == "gpu.run" and not self.data.plan.graphs:
            return False
        return all(self.objects.has(handle.id) for handle in self._handles(effect))

    def _handles(self, effect: Effect) -> list[Handle]:
        opened: list[Value] = []
        for value in effect.args.values():
            content = self._machine.open(value) if isinstance(value, Box) and self._machine is not None else value
            if not isinstance(content, RegionError):
                opened.append(content)
        return [value for value in walk(opened) if isinstance(value, Handle)]

    def perform(self, effect: Effect) -> Given | Raised:
        """Carry an effect out.

        Raises:
            UsageError: no machine is attached.
        """
        if self._effects is None:
            raise UsageError("the desk serves no machine yet; call attach first")
        match effect.durability:
            case "pure":
                outcome = self._effects.pure(effect)
                return outcome.raised if isinstance(outcome, Broken) else outcome
            case "read":
                return self._effects.found(effect, self._effects.read(effect))
            case _:
                return self._effects.commit(effect) or Given(None)

    def close(self) -> None:
        """Delete everything."""
        self._own.close()
        self._log.close()
        self._connection.close()
        if self._interpreter is not None:
            self._interpreter.close()
        self._folder.cleanup()

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_desk(
    run: bytes, data: DeskData, hear: Callable[[Heard], None], body: Callable[[bytes], bytes] | None = None
) -> Desk:
    """A desk that is ready; see `Desk`.

    Raises:
        UsageError: rows, plan or weights do not fit.
        GraphRefused: a graph holds what no graph may hold.
    """
    desk = Desk(run, data, hear, body or _no_body)
    try:
        desk.prepare()
    except BaseException:
        desk.close()
        raise
    return desk


def _no_body(_: bytes) -> bytes:
    raise UsageError("this run was not saved, so nothing is loaded from it")
