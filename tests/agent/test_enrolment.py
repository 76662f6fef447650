"""Enrolling a state folder: all of it or nothing, and a try that failed never stands in the way of the next."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sojourn.agent import enrol_folder
from sojourn.agent.folder import AgentPaths
from sojourn.crypto import Identity, create_trust, load_trusted_set, server_context
from sojourn.errors import ConfigError, EnrolmentRefused, EnrolmentUnanswered, Expired, StateInUse
from sojourn.registrar import RegistrarState, serve
from sojourn.streams import StateFolder
from websockets.asyncio.server import serve as serve_websocket

ENROLLED = ["certificate.pem", "entry.signed", "identity.key", "lock", "root.pub", "roster.signed", "version"]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[RegistrarState]:
    with RegistrarState.open(create_trust(tmp_path / "trust").registrar) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ward-7"


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@contextlib.asynccontextmanager
async def registrar(state: RegistrarState, port: int = 0) -> AsyncIterator[str]:
    async with await serve(state, "127.0.0.1", port) as server:
        yield f"wss://127.0.0.1:{server.port}"


@contextlib.asynccontextmanager
async def deaf(state: RegistrarState, *, grants: bool) -> AsyncIterator[str]:
    """The registrar's own certificate; it takes a request, grants it or not, and hangs up without a word."""

    async def handle(connection) -> None:
        request = await connection.recv()
        if grants:
            state.enrol(request)
        connection.transport.abort()

    context = server_context(state.identity, state.authority, require_client=False)
    server = await serve_websocket(handle, "127.0.0.1", 0, ssl=context)
    yield f"wss://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
    server.close()
    await server.wait_closed()


def port(url: str) -> int:
    return int(url.rpartition(":")[2])


async def test_an_enrolled_folder_holds_what_an_agent_needs_and_nothing_else(state, folder):
    async with registrar(state) as url:
        entry = await enrol_folder(folder, state.mint_token("ward-7", url=url))
        with pytest.raises(ConfigError, match="enrolled already"):
            await enrol_folder(folder, state.mint_token("ward-7", url=url, replace=True))
    assert names(folder) == ENROLLED
    assert Identity.load(folder / "identity.key").key == entry.key
    AgentPaths(folder).require_enrolled()
    load_trusted_set(folder).verify_agent((folder / "entry.signed").read_bytes(), entry.issued_ms)


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a state folder with data"])
async def test_what_is_refused_or_unreachable_leaves_all_as_it_was(state, folder, there):
    if there == "an empty folder":
        folder.mkdir()
    if there == "a state folder with data":
        StateFolder.open(folder, "agent").close()
        (folder / "streams").mkdir()
    before = names(folder) if folder.exists() else None
    async with registrar(state) as url:
        expired = state.mint_token("ward-7", url=url, ttl_ms=1)
        await asyncio.sleep(0.01)
        with pytest.raises(EnrolmentRefused, match="expired"):
            await enrol_folder(folder, expired)
    with pytest.raises(ConfigError, match="try again with the same token"):
        await enrol_folder(folder, state.mint_token("ward-7", url=url))  # nobody listens any more
    assert (names(folder) if folder.exists() else None) == before
    async with registrar(state) as url:  # and the next try works, under another name too
        assert (await enrol_folder(folder, state.mint_token("ward-8", url=url))).name == "ward-8"


@pytest.mark.parametrize("granted", [True, False])
async def test_a_lost_answer_is_asked_for_again_with_the_same_keys(state, folder, granted):
    async with deaf(state, grants=granted) as url:
        token = state.mint_token("ward-7", url=url)
        with pytest.raises(EnrolmentUnanswered, match="run the same command again"):
            await enrol_folder(folder, token)
    with pytest.raises(ConfigError, match="not enrolled"):
        AgentPaths(folder).require_enrolled()
    with pytest.raises(ConfigError, match="try again with the same token"):
        await enrol_folder(folder, token)  # a try in between that reaches nobody keeps the keys
    async with registrar(state, port(url)):
        entry = await enrol_folder(folder, token)
    assert [agent.key for agent in state.agents()] == [entry.key]
    assert names(folder) == ENROLLED


async def test_another_token_after_a_lost_answer(state, folder):
    """The one that was asked with first stays good until something came of one of them."""
    async with deaf(state, grants=True) as url:
        first = state.mint_token("ward-7", url=url)
        with pytest.raises(EnrolmentUnanswered):
            await enrol_folder(folder, first)
    async with registrar(state, port(url)):
        wrong = state.mint_token("ward-8", url=url, ttl_ms=1)
        await asyncio.sleep(0.01)
        with pytest.raises(EnrolmentRefused, match="expired"):
            await enrol_folder(folder, wrong)
        await enrol_folder(folder, first)
    assert names(folder) == ENROLLED


async def test_a_wrong_clock_is_set_right_and_the_same_token_goes_on(state, folder, monkeypatch):
    async with registrar(state) as url:
        token = state.mint_token("ward-7", url=url)
        with monkeypatch.context() as patch:
            patch.setattr("sojourn.registrar.client.now_ms", lambda: time.time_ns() // 1_000_000 + 10**12)
            with pytest.raises(Expired):
                await enrol_folder(folder, token)
        assert not (folder / "entry.signed").exists()
        entry = await enrol_folder(folder, token)
    assert [agent.key for agent in state.agents()] == [entry.key]


@pytest.mark.parametrize("moved", range(5))
async def test_a_process_that_ends_while_it_moves_in_is_carried_on(state, folder, monkeypatch, moved):
    replace, count = Path.replace, 0

    def killed(path: Path, target: Path) -> Path:
        nonlocal count
        if path.parent.name.startswith("enrolling-") and target.parent == folder:
            if count == moved:
                raise KeyboardInterrupt
            count += 1
        return replace(path, target)

    async with registrar(state) as url:
        token = state.mint_token("ward-7", url=url)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", killed)
            with pytest.raises(KeyboardInterrupt):
                await enrol_folder(folder, token)
        assert not (folder / "entry.signed").exists()
    entry = await enrol_folder(folder, token)  # no registrar is needed any more
    assert names(folder) == ENROLLED
    assert Identity.load(folder / "identity.key").key == entry.key


async def test_keys_without_an_entry_go_on_under_their_own_name_only(state, folder):
    async with registrar(state) as url:
        first = await enrol_folder(folder, state.mint_token("ward-7", url=url))
        (folder / "entry.signed").unlink()
        with pytest.raises(ConfigError, match="holds the keys of 'ward-7'"):
            await enrol_folder(folder, state.mint_token("ward-8", url=url))
        again = await enrol_folder(folder, state.mint_token("ward-7", url=url, replace=True))
    assert again.key == first.key
    assert names(folder) == ENROLLED


async def test_a_folder_in_use_is_left_alone(state, folder):
    with StateFolder.open(folder, "agent"):
        before = names(folder)
        with pytest.raises(StateInUse):
            await enrol_folder(folder, state.mint_token("ward-7", url="wss://127.0.0.1:1"))
        assert names(folder) == before
