"""`sojourn`: the command line of authors, registrars and operators."""

from __future__ import annotations

from sojourn.client.cli.continuations import app as continuations
from sojourn.client.cli.jobs import register
from sojourn.client.cli.owners import app as owners
from sojourn.client.cli.programs import app as programs
from sojourn.client.cli.provenance import app as provenance
from sojourn.client.cli.registrar import app as registrar
from sojourn.client.cli.trials import register as register_trials
from sojourn.client.cli.trust import app as trust
from sojourn.console import command_group

__all__ = ["app"]

app = command_group(
    "sojourn",
    "Send programs to private data, and see where a model comes from.",
    "sojourn trust init federation --author alice",
    "sojourn submit survey.submission --follow",
    "sojourn job 3f2a…",
    failed="a job failed or was cancelled, or a chain does not hold",
)
app.add_typer(trust, name="trust")
app.add_typer(registrar, name="registrar")
register_trials(programs)
app.add_typer(programs, name="program")
app.add_typer(continuations, name="continuation")
app.add_typer(owners, name="policy")
app.add_typer(provenance, name="provenance")
register(app)
