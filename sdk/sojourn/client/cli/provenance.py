"""`sojourn provenance`: export, trace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sojourn.client.cli.operators import CA, JOB, TOKEN_FILE, URL, operator, whole_id
from sojourn.client.cli.words import advice, counted, ended, ending, reason, standing_lines
from sojourn.console import AS_JSON, EXIT_FAILED, example, fail, print_json, read_bytes, say, show, sub_group, tell
from sojourn.errors import ProvenanceBroken, UsageError

if TYPE_CHECKING:
    from rich.tree import Tree

    from sojourn.client.provenance import Provenance
    from sojourn.client.provenance.results import MissedTrace, RoundTrace, SurveyTrace

__all__ = ["app"]

app = sub_group(
    "Where a model comes from.",
    "sojourn provenance export 3f2a… -o provenance.zip",
    "sojourn provenance trace model.safetensors --export provenance.zip --root root.pub --recompute",
    failed="the chain does not hold",
)


@app.command(epilog=example("sojourn provenance export 3f2a… -o provenance.zip"))
def export(
    identity: JOB,
    url: URL = None,
    token_file: TOKEN_FILE = None,
    ca: CA = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.")] = Path("provenance.zip"),
    as_json: AS_JSON = False,
) -> None:
    """Fetch everything that `trace` needs: signed documents, streams, the ledger."""
    with operator(url, token_file, ca) as api:
        try:
            whole = whole_id(api, identity)
            checksum = api.export(whole, output)
        except OSError as problem:
            raise UsageError(f"cannot write {output}: {problem.strerror}; pass --output") from None
        found = api.job(whole)
    if not found["table"]:
        tell("this job has published no model and closed no survey, so the export holds none:")
        for line in [*standing_lines(found), *filter(None, [ending(found)])]:
            tell(f"    {line}")
    if as_json:
        print_json({"path": str(output), "sha256": checksum, "bytes": output.stat().st_size})
    else:
        say(f"{output}  sha256 {checksum}")


@app.command(
    name="trace",
    epilog=example(
        "sojourn provenance trace model.safetensors --export provenance.zip --root root.pub --recompute",
        "the chain does not hold",
    ),
)
def trace_command(
    model: Annotated[
        Path | None,
        typer.Argument(help="The model as safetensors; it must be the final one of the export. A survey has none."),
    ] = None,
    *,
    export_: Annotated[Path, typer.Option("--export", help="Provenance export of its job.")],
    root: Annotated[Path, typer.Option("--root", help="Public root key (root.pub of `trust init`).")],
    recompute: Annotated[bool, typer.Option("--recompute", help="Derive every model again, bit for bit.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Verify every signature from the final model back to job, programs, plan, agents, rounds and mechanisms.

    What surveys released is verified in the same way. Needs no connection: only the export and the root key. Names the
    item that does not hold. Models are named by their root, the hash of their tensors; `model_sha256` is the file's.
    """
    from sojourn.client.provenance import trace
    from sojourn.codec import hexdigest
    from sojourn.crypto.identity import read_root_public

    file = None if model is None else hexdigest(read_bytes(model, "model"))
    _check_readable(export_)
    try:
        found = trace(export_, read_root_public(root), model=model, recompute=recompute)
    except ProvenanceBroken as problem:
        if as_json:
            print_json({"verified": False, "item": problem.item, "why": str(problem)})
        fail(f"does not hold: {problem}", EXIT_FAILED)
    if model is None and found.rounds and not found.surveys:
        raise UsageError("pass the model that the export is of; only what has published none is traced without one")
    if as_json:
        from dataclasses import asdict

        print_json({"verified": True, "recomputed": recompute, "model_sha256": file, **asdict(found)})
    else:
        show(_tree(found, model, file))


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as problem:
        raise UsageError(f"cannot read the export {path}: {problem.strerror}; check the path") from None


def _tree(found: Provenance, path: Path | None, file: str | None) -> Tree:
    """The verified chain as a tree, the newest model at the top."""
    from rich.text import Text
    from rich.tree import Tree

    made = bool(found.rounds) or path is not None
    what = "model" if made else "surveys" if found.surveys else "no model and no survey"
    head = Text.assemble((what, "bold"), f" with root {found.model}  " if made else "  ")
    head.append("verified", "green")
    tree = Tree(head.append(f", {found.signatures} signatures"))
    if path is not None:
        tree.add(
            f"file {path.name} sha256 {file}; a root is the hash of the tensors, and the same in every file format"
        )
    job = tree.add(f"job {found.name!r} {found.job[:16]}  purpose {found.purpose!r}, signed by author {found.author!r}")
    for name, value in found.programs.items():
        job.add(f"{name} program {value[:16]}")
    job.add(_plan_text(found.plan))
    if made:
        job.add(_policy_text(found.policy))
    tree.add(
        f"coordinator {found.coordinator!r}, ledger of {found.ledger} entries, roster version {found.roster_version}"
    )
    _add_ending(tree, found)
    for phase in reversed(found.missed):
        _add_missed(tree, phase)
    for survey in reversed(found.surveys):
        _add_survey(tree, survey)
    for link in reversed(found.rounds):
        _add_round(tree, link)
    if made:
        tree.add(f"initial model {found.initial}")
    return tree


def _policy_text(policy: Mapping[str, object]) -> str:
    """`combined by fedavg`, and with what."""
    how = ", ".join(f"{name} {value}" for name, value in policy.items() if name != "name")
    return f"combined by {policy.get('name')}" + (f" ({how})" if how else "")


def _plan_text(plan: str) -> str:
    from sojourn.client.parts import NO_PLAN
    from sojourn.codec import digest, encode

    return "no plan" if plan == digest(encode(NO_PLAN)).hex() else f"plan {plan[:16]}"


def _add_ending(tree: Tree, found: Provenance) -> None:
    """How the job ended where it is not done, and what to do about phases that missed their quorum."""
    if found.state == "running":
        tree.add("when this was exported the job was still running; export it again when it has ended")
    how = ended(found.state, found.ending)
    if how is not None:
        branch = tree.add(how)
        last = found.missed[-1:] if found.state == "failed" else ()
        for phase in last:
            for line in advice([(each.state, each.code) for each in phase.heard], len(phase.heard) < phase.invited):
                branch.add(line)


def _add_missed(tree: Tree, phase: MissedTrace) -> None:
    answered = sum(each.state == "answered" for each in phase.heard)
    branch = tree.add(
        f"round {phase.round}  {phase.phase} missed its quorum: {answered} of {counted(phase.invited, 'agent')} "
        f"answered, {phase.quorum} had to"
    )
    for each in phase.heard:
        why = f", {reason(each.code, 0)}" if each.code else ""
        branch.add(f"{f'{each.agent} ' if each.agent else ''}{each.key[:12]}  {each.state}{why}")
    silent = phase.invited - len(phase.heard)
    if silent:
        branch.add(f"{counted(silent, 'agent')} did not answer before the deadline")


def _add_survey(tree: Tree, survey: SurveyTrace) -> None:
    branch = tree.add(
        f"round {survey.round}  {survey.phase}, {len(survey.answers)} of {len(survey.participants)} agents answered"
    )
    for part in survey.answers:
        released = "  ".join(
            f"{name} {value:g} by {part.mechanisms[name]} ({part.claims[name]})"
            for name, value in part.released.items()
        )
        branch.add(f"{part.agent} {part.key[:12]}  policy {part.policy[:12]}  {released}")


def _add_round(tree: Tree, link: RoundTrace) -> None:
    from rich.text import Text

    figures = "  ".join(f"{name} {value:.4f}" for name, value in sorted(link.metrics.items()))
    line = Text(f"round {link.round}  model {link.model[:16]} from {link.base[:16]}  {figures}")
    if link.recomputed:
        line.append("  recomputed, same bits", "green")
    branch = tree.add(line)
    for part in link.contributions:
        released = "  ".join(f"{name} {value:g}" for name, value in sorted(part.released.items()))
        branch.add(
            f"{part.agent} {part.key[:12]}  update {part.update[:12]}  weight {part.weight}  "
            f"{part.mechanism} ({part.claim}), policy {part.policy[:12]}  {released}"
        )
