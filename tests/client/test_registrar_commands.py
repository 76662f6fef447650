"""`sojourn registrar` as an operator uses it: one listener a folder, one agent a name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sojourn.client.cli import app
from sojourn.crypto import Identity, TrustLayout, create_trust
from sojourn.registrar import RegistrarState, parse_token
from sojourn.registrar.messages import build_request
from typer.testing import CliRunner

BIN = Path(sys.executable).parent / "sojourn"
URL = "wss://127.0.0.1:7442"


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def layout(tmp_path: Path) -> TrustLayout:
    return create_trust(tmp_path / "federation")


def test_a_second_listener_on_a_folder_is_refused_and_names_the_first(layout: TrustLayout) -> None:
    serve = ["registrar", "serve", "--state", layout.registrar, "--listen", "127.0.0.1:0"]
    with subprocess.Popen([BIN, *serve, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as first:
        assert first.stdout is not None
        assert json.loads(first.stdout.readline())["url"].startswith("wss://127.0.0.1:")
        second = invoke(*serve)
        assert second.exit_code == 2
        assert f"registrar folder {layout.registrar} is in use by process {first.pid}" in second.stderr
        assert invoke("registrar", "token", "--state", layout.registrar, "--name", "a", "--url", URL).exit_code == 0
        first.terminate()
    assert first.returncode == 0


def test_a_name_that_is_taken_asks_for_replace(layout: TrustLayout) -> None:
    mint = ("registrar", "token", "--state", layout.registrar, "--name", "ward-7", "--url", URL)
    agent = Identity.generate("agent", "ward-7")
    with RegistrarState.open(layout.registrar) as state:
        state.enrol(build_request(parse_token(invoke(*mint).stdout), agent))
    refused = invoke(*mint)
    assert refused.exit_code == 2
    assert "an agent is enrolled as 'ward-7' already" in refused.stderr
    assert "--replace" in refused.stderr
    replaced = invoke(*mint, "--replace", "--json")
    minted = json.loads(replaced.stdout)
    assert minted["replaces"] == agent.key.hex()
    assert f"sojourn trust revoke ROOT {agent.key.hex()}" in replaced.stderr
    with RegistrarState.open(layout.registrar) as state:
        state.enrol(build_request(parse_token(minted["token"]), Identity.generate("agent", "ward-7")))
    listed = json.loads(invoke("registrar", "list", "--state", layout.registrar, "--json").stdout)
    assert [(each["name"], each["superseded"]) for each in listed] == [("ward-7", True), ("ward-7", False)]
    assert invoke("registrar", "list", "--state", layout.registrar).stdout.count("superseded") == 1


def test_the_federation_s_folder_names_the_registrar_s_in_it(layout: TrustLayout) -> None:
    federation = layout.registrar.parent
    refused = invoke("registrar", "token", "--state", federation, "--name", "ward-7", "--url", URL)
    assert refused.exit_code == 2
    assert f"did you mean --state {layout.registrar}?" in refused.stderr
