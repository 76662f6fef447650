"""What an agent says at once about what does not fit: address, folder, streams."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from sojourn.agent import Agent, Field, enrol_folder
from sojourn.agent.folder import AgentPaths
from sojourn.errors import ConfigError, StateInUse, UsageError
from sojourn.streams import StateFolder, TableStream


@pytest.mark.parametrize(
    ("address", "instead"),
    [
        ("https://hub.example.org:7443", "write it as wss://hub.example.org:7443, with"),
        ("ws://127.0.0.1:7443/x", "write it as wss://127.0.0.1:7443, with"),
        ("hub.example.org:7443", "write it as wss://hub.example.org:7443, with"),
        ("127.0.0.1", "write it as wss://127.0.0.1:7443, with the port"),
        ("wss://", "write it as wss://host:port, with"),
        ("wss://127.0.0.1:99999", "write it as wss://host:port, with"),
        ("wss://[::1", "write it as wss://host:port, with"),
        ("", "write it as wss://host:port, with"),
    ],
)
def test_another_address_is_refused_before_anything_is_opened(tmp_path, address, instead) -> None:
    with pytest.raises(ConfigError) as caught:
        Agent(tmp_path / "none", address)
    assert instead in str(caught.value)
    assert "`sojourn-coordinator run --agents`" in str(caught.value)


def test_a_folder_with_a_policy_only_is_one_to_enrol(tmp_path) -> None:
    folder = tmp_path / "clinic"
    folder.mkdir()
    (folder / "policy.toml").write_text("version = 1\n")
    with pytest.raises(ConfigError, match=rf"sojourn-agent enrol --state {folder} --token TOKEN"):
        Agent(folder, "wss://127.0.0.1:1")
    with pytest.raises(ConfigError, match="token"):  # that there is a policy is no obstacle
        asyncio.run(enrol_folder(folder, "sjt1.nonsense"))
    with StateFolder.open(folder, "agent"):
        assert (folder / "policy.toml").exists()
    with pytest.raises(ConfigError, match="holds files but is no state folder"):
        StateFolder.open(tmp_path, "coordinator")


def test_a_policy_is_no_part_of_a_coordinators_folder(tmp_path) -> None:
    (tmp_path / "policy.toml").write_text("version = 1\n")
    with pytest.raises(ConfigError, match="holds files but is no state folder"):
        StateFolder.open(tmp_path, "coordinator")


def test_a_stream_that_exists_is_not_made_again(bench) -> None:
    with pytest.raises(
        UsageError, match=r"a stream 'patients' already.*if 'patients' not in agent\.streams\.names\(\)"
    ):
        bench.agent.streams.create("patients", {"x": Field("f32")})
    bench.agent.streams.create("more", {"x": Field("f32")})
    with pytest.raises(UsageError, match="a stream 'more' already"):
        bench.agent.streams.create("more", {"x": Field("f32")})
    assert bench.agent.streams.append("more", {"x": np.float32([1])}) == 1


def test_a_stream_that_another_process_holds_is_said_to_be_held(bench, federation, agent_entry, folder) -> None:
    with TableStream.open(AgentPaths(folder).streams / "patients"):
        with pytest.raises(StateInUse, match=r"'patients': .* in use by .*agent\.streams\.append"):
            bench.agent.streams.info("patients")
        answer = bench.done(federation.mint(agent_entry)).answer
    assert (answer.outcome, answer.code, answer.releases) == ("failed", "stream_in_use", ())
    (line,) = [line for line in bench.log() if line["event"] == "stream not opened"]
    assert "in use by" in line["why"]
    assert bench.done(federation.mint(agent_entry)).answer.outcome == "done", "the next order finds it free"


def test_what_the_program_sees_of_it_names_no_process(bench, federation, agent_entry, folder, hospital_source) -> None:
    opening = 'rows = stream.open("patients", fields=["x", "y"])'
    caught = (
        f"try:\n        {opening}\n    except RuntimeError as problem:\n        log.note(str(problem))\n        return"
    )
    with TableStream.open(AgentPaths(folder).streams / "patients"):
        bench.done(federation.mint(agent_entry, hospital_source.replace(opening, caught)))
    (note,) = [line["text"] for line in bench.log() if line["event"] == "note"]
    assert note == "another process of the owner has the stream open"
