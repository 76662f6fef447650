"""Real processes on loopback: a registrar, a coordinator and agents, started, watched and restarted by id.

Each process has its own state folder, its own keys and its own log file. A process that ends by a signal it did not get
from here is started again on its state, as systemd's `Restart=on-failure` would.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Self

from sojourn.errors import SojournError

__all__ = ["BIN", "Fleet", "FleetError", "Process", "call", "free_ports"]

BIN: Final = Path(sys.executable).parent
POLL_S: Final = 0.02
STOP_S: Final = 10.0


class FleetError(SojournError):
    """A command or process did not do what it should; the message has the end of its log."""

    code = "fleet"


def free_ports(count: int) -> list[int]:
    """Ports of loopback that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def call(*arguments: str | Path, env: dict[str, str] | None = None) -> str:
    """Run one command of ours to its end; returns its standard output."""
    command = [str(BIN / str(arguments[0])), *map(str, arguments[1:])]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False)
    if done.returncode:
        raise FleetError(f"{' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass
class Process:
    """One daemon: how to start it, and the process that is it now."""

    name: str
    arguments: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    child: subprocess.Popen[bytes] | None = None
    deaths: list[int] = field(default_factory=list)
    _out: IO[bytes] | None = None

    def start(self) -> None:
        self._out = self.log.open("ab")
        command = [str(BIN / self.arguments[0]), *self.arguments[1:]]
        self.child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._out, env={**os.environ, **self.env}
        )
        # A fault is drawn for one life of the process: the next one starts without it.
        self.env = {name: value for name, value in self.env.items() if name != "SOJOURN_FAULT"}

    def ended(self) -> int | None:
        return None if self.child is None else self.child.poll()

    def stop(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        if self._out is not None:
            self._out.close()

    def tail(self, lines: int = 15) -> str:
        text = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(text[-lines:])


class Fleet:
    """The processes of one scenario. A context manager: on leaving, everything it started has ended."""

    def __init__(self) -> None:
        self.processes: dict[str, Process] = {}
        self._stopping = threading.Event()
        self._failure: str | None = None
        self._watch = threading.Thread(target=self._supervise, daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._watch.join()
        for process in reversed(list(self.processes.values())):
            process.stop()

    def start(self, name: str, arguments: list[str | Path], log: Path, env: dict[str, str] | None = None) -> Process:
        process = Process(name, [str(a) for a in arguments], log, dict(env or {}))
        process.start()
        self.processes[name] = process
        return process

    def wait_for_port(self, name: str, port: int, seconds: float = 30.0) -> None:
        """Until the process listens on loopback's `port`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(POLL_S)
        raise FleetError(f"{name} does not listen on port {port}:\n{self.processes[name].tail()}")

    def check(self) -> None:
        """Raise if a process ended by itself."""
        if self._failure is not None:
            raise FleetError(self._failure)

    def _supervise(self) -> None:
        while not self._stopping.wait(POLL_S):
            for process in list(self.processes.values()):
                code = process.ended()
                if code is None:
                    continue
                process.deaths.append(code)
                if code == -signal.SIGKILL:
                    process.start()
                elif self._failure is None:
                    self._failure = f"{process.name} ended with {code}:\n{process.tail()}"
                    process.child = None
