"""`Agent.serve`: an agent in the foreground of an app, until a signal comes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sojourn.agent.serving import serve_until_signal
from sojourn.errors import StoreError, UsageError

APP = """
import sys
from sojourn.agent import Agent

with Agent(sys.argv[1], "wss://127.0.0.1:1") as agent:
    print("up", flush=True)
    print(agent.serve().name, flush=True)
print("closed")
"""


async def forever() -> None:
    await asyncio.sleep(3600)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_the_apps_own_handlers_are_back(number) -> None:
    ended = []

    async def run() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        try:
            await forever()
        finally:
            ended.append(True)

    def own(*_: object) -> None:
        raise AssertionError("the app's handler is not asked while the agent serves")

    before = signal.signal(signal.SIGTERM, own), signal.getsignal(signal.SIGINT)
    try:
        assert serve_until_signal(run) is number
        assert signal.getsignal(signal.SIGTERM) is own
        assert signal.getsignal(signal.SIGINT) is before[1]
    finally:
        signal.signal(signal.SIGTERM, before[0])
    assert ended == [True]


def test_an_error_of_the_agent_is_the_apps_to_see() -> None:
    async def run() -> None:
        raise StoreError("no disk")

    before = signal.getsignal(signal.SIGINT)  # a shell's background job ignores it
    with pytest.raises(StoreError, match="no disk"):
        serve_until_signal(run)
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_is_told_what_to_do() -> None:
    assert threading.current_thread() is threading.main_thread()
    with ThreadPoolExecutor(1) as pool, pytest.raises(UsageError, match=r"Agent\.run\(\) as a task"):
        pool.submit(serve_until_signal, forever).result()


async def test_inside_an_event_loop_it_is_told_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"make Agent\.run\(\) one of its tasks"):
        serve_until_signal(forever)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_app_with_an_agent_ends_in_its_own_time(agent_entry, folder, number) -> None:
    assert agent_entry.name == "st-anna"
    command = [sys.executable, "-c", APP, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as app:
        assert app.stdout.readline() == "up\n"
        while "agent started" not in (folder / "owner.log").read_text():
            assert app.poll() is None
        app.send_signal(number)
        out, err = app.communicate(timeout=20)
    assert (app.returncode, out) == (0, f"{number.name}\nclosed\n")
    assert "Traceback" not in err
