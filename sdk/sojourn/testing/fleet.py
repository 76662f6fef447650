"""Real processes on loopback, started, watched and restarted by id.

Each process has its own log file. One that is ended by SIGKILL is started again on its state, as systemd's
`Restart=on-failure` would; one that ends in any other way without being told to is a failure of the whole fleet.
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
from typing import Final, Self

from sojourn.errors import SojournError

__all__ = ["BIN", "Fleet", "FleetError", "Process", "call", "free_ports"]

BIN: Final = Path(sys.executable).parent
POLL_S: Final = 0.02
STOP_S: Final = 10.0
MAX_RESTARTS: Final = 10
_ONCE: Final = "SOJOURN_FAULT"


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
    """Run one command of ours to its end; returns its standard output.

    Raises:
        FleetError: it ended with another code than 0.
    """
    command = [str(BIN / str(arguments[0])), *map(str, arguments[1:])]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False)
    if done.returncode:
        raise FleetError(f"{' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass
class Process:
    """One daemon: how to start it, and the process that is it now.

    Attributes:
        name: in the fleet.
        arguments: command line.
        log: where its output goes.
        env: variables besides the caller's own; `SOJOURN_FAULT` holds for one life only.
        child: its process now.
        deaths: exit codes of its lives so far.
    """

    name: str
    arguments: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    child: subprocess.Popen[bytes] | None = None
    deaths: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Begin a life."""
        command = [str(BIN / self.arguments[0]), *self.arguments[1:]]
        environment = {**os.environ, **self.env}
        with self.log.open("ab") as out:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
        self.env.pop(_ONCE, None)

    def end(self, number: int) -> int:
        """Send a signal and wait; returns the exit code, negative for a signal."""
        if self.child is None:
            return self.deaths[-1]
        if self.child.poll() is None:
            self.child.send_signal(number)
        try:
            code = self.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            code = self.child.wait()
        self.child = None
        self.deaths.append(code)
        return code

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(text[-lines:])


class Fleet:
    """The processes of one scenario. A context manager: on leaving, everything it started has ended."""

    def __init__(self) -> None:
        self.processes: dict[str, Process] = {}
        self._lock = threading.Lock()  # held while a process changes hands between its callers and the watch
        self._stopping = threading.Event()
        self._failure: str | None = None
        self._watch = threading.Thread(target=self._supervise, name="fleet-watch", daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._watch.join()
        for process in reversed(list(self.processes.values())):
            if process.child is not None:
                process.end(signal.SIGTERM)

    def start(self, name: str, arguments: list[str | Path], log: Path, env: dict[str, str] | None = None) -> Process:
        """Start a process and keep it running.

        Args:
            name: in this fleet.
            arguments: a command of ours and its arguments.
            log: file that its output is appended to.
            env: variables besides the caller's own.
        """
        process = Process(name, [str(a) for a in arguments], log, dict(env or {}))
        with self._lock:
            process.start()
            self.processes[name] = process
        return process

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        """End a process that this fleet keeps; returns its exit code."""
        with self._lock:
            return self.processes[name].end(number)

    def restart(self, name: str, env: dict[str, str] | None = None) -> Process:
        """End a process and start it again, with these variables."""
        with self._lock:
            process = self.processes[name]
            process.end(signal.SIGTERM)
            process.env = dict(env or {})
            process.start()
        return process

    def wait_for_port(self, name: str, port: int, seconds: float = 30.0) -> None:
        """Until the process listens on loopback's `port`.

        Raises:
            FleetError: it does not, or a process of the fleet has failed.
        """
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
        """Raise if a process ended by itself.

        Raises:
            FleetError: says which, and the end of its log.
        """
        if self._failure is not None:
            raise FleetError(self._failure)

    def _supervise(self) -> None:
        while not self._stopping.wait(POLL_S):
            with self._lock:
                for process in self.processes.values():
                    self._look_at(process)

    def _look_at(self, process: Process) -> None:
        code = None if process.child is None else process.child.poll()
        if code is None:
            return
        process.child = None
        process.deaths.append(code)
        if code == -signal.SIGKILL and len(process.deaths) <= MAX_RESTARTS:
            process.start()
        elif self._failure is None:
            self._failure = f"{process.name} ended with {code}:\n{process.tail()}"
