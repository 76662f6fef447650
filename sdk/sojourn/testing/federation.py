"""A whole federation under one folder: trust, registrar, coordinator and agents, made and run by their own commands.

Every step is the command that a person would type, in a process of its own, over TLS on loopback.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sojourn.client.api import Operator
from sojourn.crypto import Identity
from sojourn.testing.fleet import Fleet, Process, call, free_ports

__all__ = ["COORDINATOR", "REGISTRAR", "Federation"]

COORDINATOR: Final = "coordinator"
REGISTRAR: Final = "registrar"


class Federation:
    """One federation. Call `found`, then `enrol` for each agent, then `start`.

    Args:
        work: folder for everything; it exists.
        fleet: keeps the processes.

    Attributes:
        agents: names of the enrolled ones.
    """

    def __init__(self, work: Path, fleet: Fleet) -> None:
        self.work, self.fleet = work, fleet
        self.trust, self.state = work / "trust", work / COORDINATOR
        self.agents: list[str] = []
        self._registrar_port, self._agent_port, self._operator_port = free_ports(3)

    def found(self) -> None:
        """Make all keys, and start the registrar."""
        call("sojourn", "trust", "init", self.trust)
        folder, address = self.trust / REGISTRAR, f"127.0.0.1:{self._registrar_port}"
        command: list[str | Path] = ["sojourn", "registrar", "serve", "--state", folder, "--listen", address]
        self.fleet.start(REGISTRAR, command, self.log(REGISTRAR))
        self.fleet.wait_for_port(REGISTRAR, self._registrar_port)
        call("sojourn-coordinator", "init", "--state", self.state, "--trust", self.trust)

    @cached_property
    def author(self) -> Identity:
        """The one author of this federation."""
        return Identity.load(self.trust / "author" / "identity.key")

    def folder(self, agent: str) -> Path:
        """State folder of an agent."""
        return self.work / agent

    def log(self, name: str) -> Path:
        """Log of a process."""
        return self.work / f"{name}.log"

    def enrol(self, name: str, policy: str, streams: Mapping[str, Mapping[str, npt.NDArray[Any]]]) -> None:
        """Enrol an agent with a one-time token, and set it up as its owner would.

        Args:
            name: of the agent.
            policy: text of the owner's policy file.
            streams: columns of private streams, by name of the stream.
        """
        folder, url = self.folder(name), f"wss://127.0.0.1:{self._registrar_port}"
        registrar = self.trust / REGISTRAR
        token = call("sojourn", "registrar", "token", "--state", registrar, "--name", name, "--url", url).strip()
        call("sojourn-agent", "enrol", "--state", folder, env={"SOJOURN_TOKEN": token})  # not for `ps` to show
        for stream, columns in streams.items():
            table = self.work / f"{name}.{stream}.npz"
            arrays: dict[str, Any] = dict(columns)
            np.savez(table, **arrays)
            call("sojourn-agent", "data", "import", "--state", folder, "--stream", stream, table)
            table.unlink()
        (folder / "policy.toml").write_text(policy, encoding="utf-8")
        self.agents.append(name)

    def start(
        self, faults: Mapping[str, str] | None = None, apps: Mapping[str, Sequence[str | Path]] | None = None
    ) -> None:
        """Start the coordinator and every agent, and wait until the coordinator listens.

        Args:
            faults: values of `SOJOURN_FAULT` for the first life of a process, by its name.
            apps: commands that run an agent inside of an app of one's own, by the agent's name, in place of
                `sojourn-agent run`. The coordinator's address is added as the last argument.
        """
        drawn = faults or {}
        listen = ["--agents", f"127.0.0.1:{self._agent_port}", "--operators", f"127.0.0.1:{self._operator_port}"]
        command: list[str | Path] = ["sojourn-coordinator", "run", "--state", self.state, *listen]
        self.fleet.start(COORDINATOR, command, self.log(COORDINATOR), _fault(drawn.get(COORDINATOR)))
        url = f"wss://127.0.0.1:{self._agent_port}"
        for name in sorted(self.agents):
            app = (apps or {}).get(name, ["sojourn-agent", "run", "--state", self.folder(name), "--coordinator"])
            self.fleet.start(name, [*app, url], self.log(name), _fault(drawn.get(name)))
        self.ready()

    def restart(self, name: str, fault: str | None = None, **env: str) -> Process:
        """End a process and start it again on its state, with a fault for its next life."""
        return self.fleet.restart(name, {**_fault(fault), **env})

    def ready(self) -> None:
        """Wait until the coordinator listens."""
        self.fleet.wait_for_port(COORDINATOR, self._operator_port)

    @property
    def operator_env(self) -> dict[str, str]:
        """Variables that tell the operator's commands where the coordinator is."""
        return {
            "SOJOURN_COORDINATOR": f"https://127.0.0.1:{self._operator_port}",
            "SOJOURN_TOKEN_FILE": str(self.state / "operator.token"),
            "SOJOURN_CA": str(self.trust / "ca.pem"),
        }

    def operator(self) -> Operator:
        """A connection to the operators' listener."""
        token = (self.state / "operator.token").read_text(encoding="ascii").strip()
        return Operator(f"https://127.0.0.1:{self._operator_port}", token, self.trust / "ca.pem")

    def status(self, agent: str) -> dict[str, Any]:
        """What `sojourn-agent status --json` says; works beside a running agent."""
        found: dict[str, Any] = json.loads(call("sojourn-agent", "status", "--state", self.folder(agent), "--json"))
        return found

    def fault(self, name: str) -> dict[str, Any] | None:
        """Where a process was killed by its `SOJOURN_FAULT`, as it wrote it down; None if it was not."""
        path = (self.state if name == COORDINATOR else self.folder(name)) / "fault.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _fault(drawn: str | None) -> dict[str, str]:
    return {} if drawn is None else {"SOJOURN_FAULT": drawn}
