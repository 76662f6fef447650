"""A run that was stopped, in one file: program, source, the machine's snapshot, and what its handles stand for.

Rules of this module:

* The file is a `Bundle` of the documents that an agent's journal holds, so that one decoder judges both: `program`,
  `state` (a journal record with snapshot and objects), `source`, and `body/<handle>` for computed tensors.
* `sha256` is of the other items, so that a file that was damaged on a disk is not taken for another state of the run.
* That a private region failed before the run was saved is kept: what that run ends with does not depend on its stops.
* A program that is split over modules brings the text of each, as `module/<name>`, and the name of its own as `name`.
* A file from somebody else is untrusted: the program is verified, the snapshot is loaded against it, and source lines
  are only shown if the source compiles to this program. Each refusal is the ordinary one.
* It holds values of the rows that the run had read. Treat it like them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sojourn.agent.objects import ObjectTable
from sojourn.agent.records import BodyRefAt, JournalRecord, Sealed, SealedObject
from sojourn.client.sources import Source, source_of_texts
from sojourn.codec import Kind, decode, digest, encode, header_of
from sojourn.contracts import Bundle
from sojourn.errors import DecodeError, MachineError, SnapshotInvalid, SojournError, UsageError
from sojourn.limits import MAX_BUNDLE_BYTES, MAX_RECORD_BYTES
from sojourn.vm import Machine, VerifiedProgram, verify
from sojourn.vm.views import runs_of

__all__ = ["SavedRun", "load_saved", "save_run"]

_BODY: Final = "body/"
_FILE: Final = "file"
_NAME: Final = "name"
_MODULE: Final = "module/"
_DIGEST: Final = "sha256"
_REGIONS: Final = "regions"
_FAILED: Final = b"failed"  # what that item says; without it none has


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A stopped run, verified.

    Attributes:
        source: the program that it runs, verified, with the texts that compile to it where there are any.
        machine: at the state that was saved.
        objects: what handles stand for.
        bodies: joined datoms of computed tensors, by handle.
        regions_failed: whether a private region had failed by then.
    """

    source: Source
    machine: Machine = field(repr=False)
    objects: tuple[SealedObject, ...] = field(repr=False)
    bodies: Mapping[bytes, bytes] = field(repr=False)
    regions_failed: bool = False

    @property
    def program(self) -> VerifiedProgram:
        """What it runs."""
        return self.source.program

    @property
    def entry(self) -> str | None:
        """The entry that was started; None where the run has ended."""
        frames = runs_of(self.machine)[0].frames
        return frames[0].function if frames else None

    def body(self, handle: bytes) -> bytes:
        """Joined datoms of a computed handle.

        Raises:
            UsageError: the file does not hold them.
        """
        if handle not in self.bodies:
            raise UsageError("the saved run lacks a tensor that it names; save it again")
        return self.bodies[handle]


def save_run(
    machine: Machine,
    source: Source,
    objects: ObjectTable,
    *,
    regions_failed: bool = False,
) -> bytes:
    """The bytes of a stopped run.

    Args:
        machine: stopped between instructions or at an effect.
        source: the program that it runs.
        objects: what its handles stand for; handles that a person made up stand for nothing and are left out.
        regions_failed: whether a private region has failed.

    Raises:
        UsageError: too large for one file.
    """
    live = [handle for handle in dict.fromkeys(h.id for h in machine.handles()) if objects.has(handle)]
    refs = tuple(SealedObject(handle, objects.refer(handle)) for handle in live)
    try:
        snapshot = machine.dump()
    except MachineError as problem:
        raise UsageError(f"this run cannot be saved: {problem}") from None
    items = {
        "program": encode(source.program.program),
        "state": encode(JournalRecord(Sealed(snapshot, refs, 0))),
        "source": source.text.encode("utf-8"),
        _FILE: source.file.encode("utf-8"),
        **({_NAME: source.name.encode("ascii")} if source.modules else {}),
        **{f"{_MODULE}{name}": text.encode("utf-8") for name, text in source.modules.items()},
        **({_REGIONS: _FAILED} if regions_failed else {}),
        **{f"{_BODY}{ref.handle.hex()}": objects.body(ref.handle) for ref in refs if isinstance(ref.ref, BodyRefAt)},
    }
    data = encode(Bundle({**items, _DIGEST: _digest(items)}))
    if len(data) > MAX_BUNDLE_BYTES:
        raise UsageError(
            f"this run needs {len(data)} bytes, a file holds {MAX_BUNDLE_BYTES}; stop it where it has less"
        )
    return data


def load_saved(data: bytes, program: bytes | None = None) -> SavedRun:
    """A stopped run from untrusted bytes.

    Args:
        data: what `save_run` gave, or the bare snapshot of a machine.
        program: canonical bytes of the program, which a bare snapshot does not bring.

    Raises:
        DecodeError: not the canonical encoding of such a file.
        ProgramInvalid: the verifier refuses its program.
        SnapshotInvalid: the snapshot is no state of that program.
        UsageError: a bare snapshot, and no program.
    """
    if header_of(data)[0] == Kind.SNAPSHOT:
        if program is None:
            raise UsageError("this is a bare snapshot; say which program it is of: --program FILE.py or FILE.sjp")
        verified = verify(program)
        return SavedRun(Source(verified, "", ""), Machine.load(verified, data), (), {})
    items = decode(Bundle, data, limit=MAX_BUNDLE_BYTES).items
    if not {"program", "state", "source", _FILE} <= items.keys():
        raise DecodeError("schema", "this is no saved run: it lacks program, state, source or file")
    if items.get(_DIGEST) != _digest(items):
        raise DecodeError("value", "this saved run is damaged: its items do not have its sha256; save the run again")
    verified = verify(items["program"])
    state = decode(JournalRecord, items["state"], limit=MAX_RECORD_BYTES).item
    if not isinstance(state, Sealed):
        raise DecodeError("schema", "this is no saved run: its state is another record of a journal")
    machine = Machine.load(verified, state.snapshot)
    live = {handle.id for handle in machine.handles()}
    if not all(entry.handle in live for entry in state.objects):
        raise SnapshotInvalid("the file describes a handle that the snapshot does not hold")
    source = _source(items, verified)
    bodies = {
        bytes.fromhex(name.removeprefix(_BODY)): body
        for name, body in items.items()
        if name.startswith(_BODY) and name.removeprefix(_BODY) in {handle.hex() for handle in live}
    }
    if items.get(_REGIONS, _FAILED) != _FAILED:
        raise DecodeError("value", f"this is no saved run: what it says of its regions is not {_FAILED!r}")
    return SavedRun(source, machine, state.objects, bodies, _REGIONS in items)


def _digest(items: Mapping[str, bytes]) -> bytes:
    return digest(encode(Bundle({name: data for name, data in items.items() if name != _DIGEST})))


def _source(items: Mapping[str, bytes], program: VerifiedProgram) -> Source:
    """The program with its source, if that is its source."""
    try:
        text, file, name = (items.get(key, b"").decode("utf-8") for key in ("source", _FILE, _NAME))
        texts = {key.removeprefix(_MODULE): data.decode("utf-8") for key, data in items.items()
                 if key.startswith(_MODULE)}  # fmt: skip
        found = source_of_texts(text, file, name, texts) if text else None
    except (UnicodeDecodeError, SojournError):
        found = None
    if found is not None and found.program.digest == program.digest:
        return found
    if items["source"]:
        raise DecodeError("value", "the source in this file is not that of its program")
    return Source(program, "", "")
