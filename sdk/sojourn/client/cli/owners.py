"""`sojourn policy`: from a submission to a draft of the policy that admits it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sojourn.console import AS_JSON, example, print_json, read_bytes, say, sub_group, tell, write_bytes
from sojourn.errors import UsageError

__all__ = ["app"]

app = sub_group(
    "Policies of data owners.",
    "sojourn policy draft survey.submission --owner clinic-1 -o clinic-1/policy.toml",
)


@app.command(epilog=example("sojourn policy draft survey.submission --owner clinic-1 -o clinic-1/policy.toml"))
def draft(
    submission: Annotated[Path, typer.Argument(help="Submission file, as its author gave it to you.")],
    owner: Annotated[str, typer.Option("--owner", help="Name of the data's owner.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; by default standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Write a policy that admits exactly this submission, for its owner to read, to edit and then to put in force."""
    from sojourn.client.drafts import policy_for

    if output is not None and output.exists() and not force:
        raise UsageError(
            f"{output} is there already; append the [[admit]] block of a draft to it to admit one job more, "
            "or replace it with --force"
        )
    text = policy_for(read_bytes(submission, "submission"), owner)
    if output is not None:
        write_bytes(output, text.encode("utf-8"), "policy")
    if as_json:
        print_json({"policy": text, "path": None if output is None else str(output)})
    elif output is None:
        say(text.rstrip("\n"))
    if output is not None:
        tell(f"{output}: read it before you use it; `sojourn-agent policy check {output}` says what it admits")
