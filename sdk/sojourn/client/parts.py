"""The parts of a submission, each from what its author passes: checked phases, compiled code, plan, model, arguments.

Every mistake is a `UsageError` that says what to write.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sojourn import aggregation
from sojourn.client.review import Code
from sojourn.client.sources import compile_file, compile_text
from sojourn.codec import digest, normalised
from sojourn.contracts import NO_PLAN, Phase, Plan, Scalar
from sojourn.datoms import BlockKind, join_datoms, pack_list
from sojourn.errors import SojournError, UsageError

__all__ = [
    "NO_PLAN",
    "ROUNDS_ENTRY",
    "Tensors",
    "args_of",
    "compiled",
    "model_of",
    "packed",
    "phases_of",
    "plan_of",
    "policy_of",
    "programs_of",
]

PACKAGED: Final = "sojourn_policies"
"""The package above this one that ships round loops; imported by name, when a job needs it."""

ROUNDS_ENTRY: Final = "rounds"
"""The name of a rounds entry that is looked for where a job gives none."""

Tensors = Mapping[str, npt.NDArray[Any]]


def phases_of(phases: Iterable[Phase], participants: int) -> tuple[Phase, ...]:
    """Phases with their numbers in place, and quorums that a cohort can reach."""
    listed = tuple(normalised(each) for each in phases)
    if not listed:
        raise UsageError("a job has one phase or more; pass phases=[phase(name, entry=..., answer=[...])]")
    for each in listed:
        if each.quorum < 1:
            raise UsageError(f"phase {each.name!r} has quorum {each.quorum}; write 1 or more")
        if 0 < participants < each.quorum:
            raise UsageError(
                f"phase {each.name!r} has quorum {each.quorum}, and a cohort has {participants} participants; "
                "lower the quorum or raise participants"
            )
    return listed


def programs_of(program: Path | str, rounds: Path | str | None, rounds_entry: str) -> tuple[Code, Code]:
    """The agent program and the rounds program, which may be the same."""
    code = compiled(program, "program")
    if rounds is None and rounds_entry in code.program.entries:
        return code, code
    if rounds is None:
        _check_meant(code, rounds_entry)
    loop = compiled("fedavg" if rounds is None else rounds, "rounds")
    if rounds_entry not in loop.program.entries:
        others = _asking(loop) or tuple(loop.program.entries)
        raise UsageError(
            f"the job's rounds starts {rounds_entry!r}, which is no @continuation of {loop.file}; pass "
            f"{_entry_option(others)}"
        )
    return code, loop


def _asking(code: Code) -> tuple[str, ...]:
    """The entries that invite or ask agents: those are rounds."""
    reach = {entry: code.program.effects(entry) for entry in code.program.entries}
    return tuple(entry for entry, names in reach.items() if any(name.startswith("fleet.") for name in names))


def _entry_option(entries: Iterable[str]) -> str:
    return " or ".join(f"rounds_entry={entry!r}" for entry in entries)


def _check_meant(code: Code, rounds_entry: str) -> None:
    """The packaged loop is taken only where nothing in the program looks like one.

    Raises:
        UsageError: the program has an entry that asks agents, under another name; or was meant to have one.
    """
    others = _asking(code)
    if others:
        raise UsageError(
            f"{code.file} has no @continuation {rounds_entry!r}, and {_listed(others)} asks agents; pass "
            f"{_entry_option(others)}, or rename it to {rounds_entry!r}; for the packaged loop pass rounds='fedavg'"
        )
    if rounds_entry != ROUNDS_ENTRY:
        raise UsageError(
            f"{code.file} has no @continuation {rounds_entry!r} (it has {_listed(code.program.entries)}); pass rounds= "
            "with the program that has it, or leave rounds_entry= out for the packaged loop"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def compiled(source: Path | str, what: str) -> Code:
    """Compile a file with the modules that it imports, source text that stands alone, or a packaged round loop."""
    if isinstance(source, Path):
        try:
            text = source.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise UsageError(f"{what}: cannot read {source}: {problem}; pass the path of a UTF-8 file") from None
        return Code(compile_file(source, text).program, source.name)
    if "\n" in source:
        text, file = source, f"<{what}>"
    elif what == "rounds":
        text, file = importlib.import_module(PACKAGED).packaged_rounds(source)
    else:
        raise UsageError(f"program is the text {source!r}, which is no program; for a file write Path({source!r})")
    return Code(compile_text(text, file).program, file)


def policy_of(policy: str | Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The record of a policy that is installed.

    Raises:
        ConfigError: there is none of this name, or it has no such option.
    """
    chosen: dict[str, Scalar] = {"name": policy} if isinstance(policy, str) else dict(policy)
    aggregation.policy_of(chosen)
    return chosen


def plan_of(plan: Plan | None, graphs: Mapping[str, bytes | Path] | None) -> tuple[Plan, dict[str, bytes]]:
    """The plan with digests and floats in place, checked against its graphs; `NO_PLAN` for a job without graphs."""
    files = {}
    for graph, given in (graphs or {}).items():
        try:
            files[graph] = given if isinstance(given, bytes) else given.read_bytes()
        except OSError as problem:
            raise UsageError(f"graph {graph!r}: cannot read {given!s}: {problem.strerror}; pass its path") from None
    if plan is None:
        if files:
            raise UsageError(f"graphs={sorted(files)} and no plan; pass plan= with the manifest of these graphs")
        return NO_PLAN, {}
    filled = tuple(
        msgspec.structs.replace(graph, digest=digest(files[graph.name]))
        if not graph.digest and graph.name in files
        else graph
        for graph in plan.graphs
    )
    whole = normalised(msgspec.structs.replace(plan, graphs=filled))
    from sojourn.interpreters import check_plan  # noqa: PLC0415 - a runtime that a job without graphs does without

    try:
        check_plan(whole, files)
    except UsageError:
        raise
    except SojournError as problem:
        raise UsageError(str(problem)) from problem
    return whole, files


def model_of(plan: Plan, initial: Tensors | None) -> Tensors:
    """The initial model: no tensor where the plan trains none."""
    trained = [tensor.name for tensor in plan.state if tensor.trained]
    if initial is None and trained:
        raise UsageError(f"the plan trains {', '.join(trained)}; pass initial= with a float32 array for each")
    model = {name: np.asarray(tensor) for name, tensor in (initial or {}).items()}
    for name in trained:
        if name in model and model[name].dtype != np.float32:
            raise UsageError(f"initial[{name!r}] is {model[name].dtype}; write array.astype(numpy.float32)")
    return model


def packed(tensors: Tensors, kind: BlockKind, what: str) -> tuple[bytes, bytes]:
    """Joined datoms of named tensors, and the root of their stream."""
    try:
        datoms, root = pack_list({name: np.asarray(tensor) for name, tensor in tensors.items()}, kind)
    except UsageError as problem:
        raise UsageError(f"{what}: {problem}") from None
    return join_datoms(datoms), root


def args_of(args: Mapping[str, Scalar] | None, loop: Code) -> dict[str, Scalar]:
    """The job's arguments: plain values, and what a packaged round loop needs."""
    given = dict(args or {})
    for key, value in given.items():
        if type(value) not in {bool, int, float, str}:
            raise UsageError(
                f"args[{key!r}] is of type {type(value).__name__}; write a bool, int, float or str, "
                "for example int(value)"
            )
    if loop.file.startswith(f"{PACKAGED}/") and type(given.get("rounds")) is not int:
        raise UsageError(f'{loop.file} counts to args["rounds"]; pass for example args={{"rounds": 10}}')
    return given
