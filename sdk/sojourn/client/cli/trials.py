"""`sojourn program run`: a program at its author's desk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sojourn.console import AS_JSON, EXIT_FAILED, example, print_json, read_bytes, say, tell, write_bytes
from sojourn.errors import UsageError

if TYPE_CHECKING:
    from sojourn.client.cli.watching import ConsoleWatcher
    from sojourn.client.sources import Source
    from sojourn.client.trial import Desk, Ended, Trial
    from sojourn.vm import Machine

__all__ = ["program_of", "register"]

MIB = 1 << 20


class Stepping(StrEnum):
    """How far one step goes."""

    LINE = "line"
    INSTRUCTION = "instruction"


def register(app: typer.Typer) -> None:
    """Add the command to `sojourn program`."""
    app.command(
        epilog=example(
            "sojourn program run program.py --rows patients.csv --args '{\"age\": 50}' --fuel 2000000",
            "the program or its private region failed",
        )
    )(run)


def run(
    source: Annotated[Path, typer.Argument(help="Python source, or a program that `program build` made.")],
    entry: Annotated[
        str | None, typer.Option("--entry", help="By default the only one; with --rows, the only one of an agent.")
    ] = None,
    args: Annotated[
        str, typer.Option("--args", help="JSON: an object is order.args (job.args); a list, the parameters themselves.")
    ] = "{}",
    number: Annotated[int, typer.Option("--round", min=0, help="What order.round is.")] = 0,
    rows: Annotated[
        list[str] | None,
        typer.Option("--rows", help="Rows of your own, .csv or .npz: FILE, or STREAM=FILE for each stream."),
    ] = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Folder with plan.sj and one NAME.onnx a graph.")] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="What order.weights is, .safetensors or .npz; zeros by default.")
    ] = None,
    clip: Annotated[float, typer.Option("--clip", help="Clip of release.update; a job's phase has it.")] = 1.0,
    max_weight: Annotated[int, typer.Option("--max-weight", help="Largest weight of release.update.")] = 1_000_000,
    answers: Annotated[
        Path | None, typer.Option("--answers", help="JSON lines that answer what nothing here carries out.")
    ] = None,
    breaks: Annotated[list[str] | None, typer.Option("--break", help="Stop before this effect; repeatable.")] = None,
    step: Annotated[Stepping | None, typer.Option("--step", help="Stop at each line, or at each instruction.")] = None,
    fuel: Annotated[int, typer.Option("--fuel", min=1, help="Instructions of the run.")] = 10_000_000,
    memory: Annotated[int, typer.Option("--memory", min=1, help="Bytes of program values of the run.")] = 64 * MIB,
    save: Annotated[Path | None, typer.Option("--save", help="Where a stopped run is written.")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Go on with a run that --save wrote.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show releases, notes and errors only.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Run a program here: effects are shown as they are made, releases as they would leave. Nothing is sent or signed.

    Streams, graphs, tensors, releases and the log are served by the agent's own code on your rows; what only a
    coordinator can answer is asked here, or taken from --answers.
    """
    from sojourn.client.trial.desk import DeskData
    from sojourn.client.trial.saved import load_saved
    from sojourn.client.trial.start import chosen_entry, go_on, read_plan, read_weights, rows_by_stream, start_trial

    found = program_of(source)
    _check_breaks(breaks or [])
    saved = None if resume is None else load_saved(read_bytes(resume, "saved run"))
    if saved is not None and saved.program.digest != found.program.digest:
        raise UsageError(f"{resume} was saved from another program than {source}; pass the source it was run from")
    chosen = chosen_entry(found.program, entry if saved is None else saved.entry, rows=bool(rows))
    given = _json_args(args)
    known = given if isinstance(given, dict) and saved is None else None
    note_refusal(found, chosen, known, fuel, memory)
    manifest, graphs = read_plan(plan)
    data = DeskData(rows_by_stream(found.program, chosen, rows or []), manifest, graphs, read_weights(weights), clip,
                    max_weight)  # fmt: skip
    watcher = _watcher(found, quiet=quiet, as_json=as_json)
    if saved is not None:
        machine, desk = go_on(saved, data, watcher.heard)
        watcher.failed_before = saved.regions_failed
    else:
        machine, desk = start_trial(found.program, chosen, data, watcher.heard, given, number, fuel, memory)
    with desk:
        trial = _trial(machine, desk, watcher, answers, breaks or [], step)
        ended = _drive(trial, desk, found, watcher, save)
        _report(found, chosen, desk, watcher, ended, (fuel, memory), as_json=as_json)
    if ended is not None and (ended.outcome == "failed" or watcher.regions_failed):
        raise typer.Exit(EXIT_FAILED)


def program_of(source: Path) -> Source:
    """A program from its source and the modules that it imports, or from what `sojourn program build` wrote.

    Raises:
        UsageError: it cannot be read, or is refused with file, line and what to write.
        ProgramInvalid: the verifier refuses it.
    """
    from sojourn.client.sources import Source, compile_file
    from sojourn.vm import verify

    data = read_bytes(source, "program")
    if data[:2] == b"SJ":
        return Source(verify(data), "", source.name)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise UsageError(f"{source} is not UTF-8: {problem.reason} at byte {problem.start}") from None
    return compile_file(source, text)


def note_refusal(found: Source, entry: str, args: dict[str, Any] | None = None, fuel: int = 0, memory: int = 0) -> None:
    """Say beforehand what `build_submission` would refuse; here it is taken all the same, so that one can look at it.

    Args:
        found: the program.
        entry: that is run.
        args: of the job; None where they are not known.
        fuel: of the run.
        memory: of the run, bytes.
    """
    from sojourn.client.arguments import review_args
    from sojourn.client.inside import review_inside
    from sojourn.client.review import Code, review_limits

    code = Code(found.program, found.file)
    try:
        review_inside(code, entry)
        if args is not None:
            review_limits(code, entry, args, fuel, memory)
            review_args(code, entry, args)
    except UsageError as problem:
        tell(f"note: build_submission would refuse this: {problem}")


def _check_breaks(breaks: list[str]) -> None:
    from sojourn.vm import EFFECTS

    for name in breaks:
        if name not in EFFECTS:
            raise UsageError(f"--break {name}: there is no such effect; write one of {', '.join(EFFECTS)}")


def _json_args(text: str) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"--args is no JSON: {problem}; write for example --args '{{\"epochs\": 2}}'") from None
    if not isinstance(found, dict | list):
        raise UsageError('--args is an object, such as {"epochs": 2}, or a list of the entry\'s parameters')
    return found


def _watcher(found: Source, *, quiet: bool, as_json: bool) -> ConsoleWatcher:
    from sojourn.client.cli.watching import ConsoleWatcher

    return ConsoleWatcher(found, quiet=quiet, as_json=as_json)


def _trial(
    machine: Machine,
    desk: Desk,
    watcher: ConsoleWatcher,
    answers: Path | None,
    breaks: list[str],
    step: Stepping | None,
) -> Trial:
    from sojourn.client.trial import Answers, Trial

    text = "" if answers is None else read_bytes(answers, "answers").decode("utf-8", "replace")
    source = Answers(text, "" if answers is None else answers.name, watcher.ask)
    trial = Trial(machine, desk, source, watcher, frozenset(breaks), "no" if step is None else step.value)
    watcher.trial = trial
    return trial


def _drive(trial: Trial, desk: Desk, found: Source, watcher: ConsoleWatcher, save: Path | None) -> Ended | None:
    """Run to the end; None where it was stopped, which `save` keeps."""
    from sojourn.client.trial import NoAnswer, TrialStopped, save_run

    try:
        ended = trial.run()
    except TrialStopped:
        tell("stopped" if save is not None else "stopped; pass --save FILE to keep such a run")
    except NoAnswer as problem:
        if save is None:
            raise
        tell(f"stopped: {problem}")
    else:
        if trial.unused:
            tell(f"note: {trial.unused}")
        return ended
    if save is not None:
        save.touch(mode=0o600)  # it holds values of the rows
        failed = watcher.regions_failed
        data = save_run(trial.machine, found, desk.objects, regions_failed=failed)
        write_bytes(save, data, "saved run")
        tell(f"{save}: go on with --resume {save}, look at it with: sojourn continuation show {save}")
    return None


def _report(
    found: Source,
    entry: str,
    desk: Desk,
    watcher: ConsoleWatcher,
    ended: Ended | None,
    budgets: tuple[int, int],
    *,
    as_json: bool,
) -> None:
    from sojourn.client.trial.report import answer_text, draft_policy, left
    from sojourn.client.trial.values import shown

    outcome = "stopped" if ended is None else ended.outcome
    released, answer = left(desk), answer_text(desk.releases)
    policy = draft_policy(found.program, entry, desk, *budgets) if desk.releases and outcome == "done" else ""
    ending: dict[str, Any] = {"outcome": outcome}
    if ended is not None and outcome == "done":
        ending["value"] = shown(ended.value)
    elif ended is not None:
        ending |= {"code": ended.code, **found.as_json(ended.line), "detail": ended.detail}
    if as_json:
        listed = [each.as_json for each in released]
        leaves = listed if outcome == "done" else []
        print_json({**ending, "entry": entry, "events": watcher.events, "leaves": leaves, "released": listed,
                    "answer": answer, "policy": policy})  # fmt: skip
        return
    _say_ending(ending, watcher, 0 if ended is None else ended.line)
    if released:
        say(_LEAVING[outcome])
    for each in released:
        say(f"    {each.text}")
    if policy:
        say("the answer of the job's phase:")
        say(f"    answer=[{', '.join(answer)}]")
        say("the least policy that admits it:")
        say("\n".join(f"    {line}".rstrip() for line in policy.splitlines()))


_LEAVING = {
    "done": "what would leave, in this order:",
    "failed": "nothing would leave, because the run failed; it had released:",
    "stopped": "released so far:",
}


def _say_ending(ending: Mapping[str, Any], watcher: ConsoleWatcher, place: int) -> None:
    if ending["outcome"] == "done":
        say(f"done: {ending['value']}")
        if watcher.regions_failed:
            when = "before this run was saved" if watcher.failed_before else "see above"
            say(f"a private region failed, {when}; each release of it that is shown is the neutral element")
    elif ending["outcome"] == "failed":
        say(f"failed with {ending['code']} at {watcher.place(place)}")
        say(f"    the text, which stays with the owner: {ending['detail']}")
