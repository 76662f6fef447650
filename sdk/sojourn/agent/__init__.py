"""The embeddable agent runtime: what an app starts.

```python
from sojourn.agent import Agent, Field

with Agent(state="hospital-1", coordinator="wss://coordinator.example:7443", policy="policy.toml") as agent:
    if "patients" not in agent.streams.names():
        agent.streams.create("patients", {"x": Field("f32", (30,)), "y": Field("f32")})
        agent.streams.append("patients", {"x": features, "y": labels})
    agent.serve()                                        # until Ctrl-C or SIGTERM; in an event loop: await agent.run()
```

Rules of this package: one process holds a state folder; what a program does happens once, whatever dies in between
(`journal`, `host`); what leaves passes the owner's policy and the privacy ledger first (`releases`, `answers`); the
reason of a refusal or failure goes to the owner's log (`owner`), its public code to the coordinator. Names of this
facade are imported when they are first used, so that a command that shows a status does not load a runtime.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sojourn.agent.data import AgentStreams, StreamInfo
    from sojourn.agent.enrolment import enrol_folder
    from sojourn.agent.folder import AgentPaths
    from sojourn.agent.released import Departure, read_released
    from sojourn.agent.runtime import Agent
    from sojourn.agent.status import AgentStatus, read_status
    from sojourn.streams import Field

__all__ = [
    "Agent",
    "AgentPaths",
    "AgentStatus",
    "AgentStreams",
    "Departure",
    "Field",
    "StreamInfo",
    "enrol_folder",
    "read_released",
    "read_status",
]

_HOMES: Final = {
    "Agent": "sojourn.agent.runtime",
    "AgentPaths": "sojourn.agent.folder",
    "AgentStatus": "sojourn.agent.status",
    "AgentStreams": "sojourn.agent.data",
    "Departure": "sojourn.agent.released",
    "Field": "sojourn.streams",
    "StreamInfo": "sojourn.agent.data",
    "enrol_folder": "sojourn.agent.enrolment",
    "read_released": "sojourn.agent.released",
    "read_status": "sojourn.agent.status",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
