"""A job in plain words: how it stands, why an agent did not answer, how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = [
    "advice",
    "counted",
    "ended",
    "ending",
    "event_line",
    "headline",
    "missed_advice",
    "packaged_file",
    "progress",
    "reason",
    "standing_lines",
    "waiting_line",
    "went_well",
]

Row = Mapping[str, Any]

_WHY: Final = {
    "admission_refused": "its owner's policy does not admit this job; the owner's log says which rule is missing",
    "stream_field_missing": "it has no such stream, or a field of it is missing",
    "stream_in_use": "another process of its owner has the stream open",
    "budget_exhausted": "a budget of the run is spent",
    "plan_mismatch": "a graph is not what the plan states",
    "program_invalid": "the program does not verify at the agent",
    "expired": "the order or the job has expired",
    "store": "its disk refused a write",
}
_FIGURES: Final = ("loss", "auc")
_NEXT: Final = "; all are asked when they are there, and time counts from then (`sojourn agents`, `sojourn cancel`)"
ROUNDS: Final = "the rounds program"


def counted(number: int, word: str) -> str:
    """`1 agent`, `2 agents`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def reason(code: str, line: int, modules: Sequence[str] = ()) -> str:
    """Why an agent's run has no answer, from its public code and line, and its program's modules if they are known."""
    from sojourn.vm.places import line_text

    where = f" at {line_text(line, modules)} of the agent program" if line else ""
    why = f": {_WHY[code]}" if code in _WHY else ""
    return f"{code}{where}{why}"


def advice(heard: Iterable[tuple[str, str]], silent: bool) -> Iterator[str]:
    """What to do about a job that a missed quorum has ended.

    Args:
        heard: state and public code of each agent that was heard of.
        silent: whether one was not.
    """
    gave_up = [(state, code) for state, code in heard if state != "answered"]
    if any(code == "admission_refused" for _, code in gave_up):
        yield (
            "owners admit a job before it is submitted: `sojourn policy draft SUBMISSION --owner NAME` writes the "
            "rule, and agents read their policy again at each order"
        )
        yield (
            "a round asks as many connected agents as the job's participants= says, whatever their owners admit: with "
            "more than the quorum, or 0 for all that are connected, some may decline"
        )
    if any(code == "stream_field_missing" for _, code in gave_up):
        yield (
            "ask the owners what their streams hold: the owner.log in an agent's folder names the stream and the field "
            "that were asked for, and those that there are"
        )
    if any(code not in ("admission_refused", "stream_field_missing") for _, code in gave_up):
        yield "mend why the runs failed; `sojourn program run` shows what the program does on rows of your own"
    if silent:
        yield "see that enough agents are connected (`sojourn agents`), or give the phase more time or a smaller quorum"
    yield (
        "a job that has ended is not tried again: build the submission once more and submit that file; a program and "
        "purpose that are admitted stay so"
    )


def waiting_line(waiting: Row) -> str:
    """`waiting: 2 of 3 agents connected (quorum 3); …` and what happens next."""
    quorum = f" (quorum {waiting['quorum']})" if "quorum" in waiting else ""
    return f"waiting: {waiting['connected']} of {counted(waiting['needed'], 'agent')} connected{quorum}{_NEXT}"


def progress(job: Row) -> str:
    """`2/12`, or `2` as long as nobody knows of how many; a survey that closed none has 0."""
    return f"{job['round']}/{job['rounds']}" if job["rounds"] else f"{job['round']}"


def headline(job: Row) -> str:
    """Name, state, and how far it is."""
    rounds = job["rounds"]
    through = f"round {job['round']} of {rounds}" if rounds else counted(job["round"], "round")
    return f"{job['name']}  {job['state']}  {through}"


def standing_lines(job: Row) -> Iterator[str]:
    """What the job waits for, and how its latest phase stands; nothing of a phase that went well."""
    if job.get("waiting"):
        yield waiting_line(job["waiting"])
    phase = job.get("phase")
    if not phase or went_well(phase):
        return
    answered = sum(part["state"] == "answered" for part in phase["agents"])
    head = f"{phase['name']}, round {phase['round']}: {answered} of {counted(len(phase['agents']), 'agent')} answered"
    quorum = f"quorum {phase['quorum']}"
    match phase["state"]:
        case "open":
            left, of = (round(phase[key] / 1000) for key in ("remaining_ms", "deadline_ms"))
            yield f"{head} ({quorum}), {left} s left of {of}"
        case "missed":
            yield f"{head}, {quorum} missed"
        case state:
            yield f"{head} ({quorum}), {state}"


def went_well(phase: Row) -> bool:
    """It is closed and everybody answered: its figures are in the table."""
    return phase["state"] == "closed" and all(part["state"] == "answered" for part in phase["agents"])


def ending(job: Row) -> str | None:
    """How a job has ended, from what the coordinator shows of it; None where it is done or runs."""
    programs = job.get("programs")
    modules = (programs or {}).get("rounds_modules", ())
    data = {**(job["error"] or {}), "by": job.get("cancelled_by"), "modules": modules}
    return ended(job["state"], data, _where(programs))


def _where(programs: Row | None) -> str:
    """Which file the lines of a rounds program are of, as far as a coordinator knows: it is told no names of files."""
    if programs is None:
        return ROUNDS
    if programs["rounds"] == programs["agent"]:
        return f"the job's program, in {programs['entry']!r}"
    return packaged_file(programs["rounds"]) or f"{ROUNDS}, in {programs['entry']!r}"


def packaged_file(digest: str) -> str | None:
    """Name of the packaged round loop that has this digest; None for a program of somebody's own."""
    from sojourn.client.parts import compiled

    code = compiled("fedavg", "rounds")
    return code.file if code.program.digest.hex() == digest else None


def missed_advice(job: Row) -> Iterator[str]:
    """What to do about a job that a missed quorum has ended; nothing for any other job."""
    phase = job.get("phase")
    if job["state"] == "failed" and phase and phase["state"] == "missed":
        parts = [(part["state"], part["code"]) for part in phase["agents"]]
        yield from advice((part for part in parts if part[0] != "silent"), any(part[0] == "silent" for part in parts))


def ended(name: str, data: Row, where: str = ROUNDS) -> str | None:
    """How a job ended, from its last event; None where it is done.

    Args:
        name: of the event, or the state.
        data: of the event.
        where: what the line is a line of.
    """
    if name == "cancelled":
        return f"the job was cancelled by {data.get('by')}"
    if name == "failed":
        from sojourn.vm.places import line_text

        line = f" at {line_text(data['line'], data.get('modules', ()))} of {where}" if data.get("line") else ""
        text = str(data.get("message") or "").removeprefix(f"{data.get('code')}: ")
        said = f": {text}" if text else ""
        return f"the job failed with {data.get('code')}{line}{said}"
    return None


def event_line(name: str, data: Row) -> str | None:
    """One event of a job as a line; None for one that says nothing to a person."""
    write = _LINES.get(name)
    return None if write is None else write(data)


def _answered(data: Row) -> str:
    if data["outcome"] == "done":
        return f"round {data['round']}: {data['agent']} answered ({data['count']} of {data['of']})"
    why = reason(data["code"], data.get("line", 0))
    return f"round {data['round']}: {data['agent']} {data['outcome']}, {why}"


def _published(data: Row) -> str:
    figures = "".join(f"  {key} {data[key]:.4f}" for key in _FIGURES if isinstance(data.get(key), float))
    return f"round {data['round']}: model {data['model'][:16]}{figures}"


_LINES: Final[Mapping[str, Callable[[Row], str]]] = {
    "submitted": lambda data: f"submitted: {data['name']}",
    "waiting": waiting_line,
    "opened": lambda data: f"round {data['round']}: {data['phase']} goes to {counted(data['participants'], 'agent')}",
    "answered": _answered,
    "declined": lambda data: f"round {data['round']}: {data['agent']} declined, {reason(data['code'], 0)}",
    "closed": lambda data: f"round {data['round']}: {data['phase']} closed with {counted(data['answers'], 'answer')}",
    "missed": lambda data: (
        f"round {data['round']}: {data['phase']} missed its quorum with {counted(data['answers'], 'answer')}"
    ),
    "published": _published,
    "note": lambda data: f"note: {data['text']}",
    "done": lambda _: "done",
}
