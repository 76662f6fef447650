"""Layout of an agent's state folder, and its files.

```
identity.key certificate.pem entry.signed roster.signed root.pub     keys, and what the registrar signed
enrolling-<token>/                                                  an enrolment that is not finished
policy.toml                                                         the owner's policy (or elsewhere, by option)
streams/<name>/                                                     private streams, one table each
runs/<number>/                                                      journals, each of one run at a time
bodies/<id hex>                                                     sealed bodies as fetched: a cache
outbox/<order hex>                                                  large sealed bodies of answers, until committed
released/<digest>                                                   large outputs of the privacy ledger
agent.db owner.log                                                  orders and privacy ledger; the owner's log
```

Rules: one process holds the folder (`StateInUse` names it); files that are replaced are replaced whole; nothing under
`bodies/` is needed, it is only quicker than fetching again.
"""

from __future__ import annotations

from pathlib import Path

from sojourn.errors import ConfigError

__all__ = ["AgentPaths"]


class AgentPaths:
    """Names within one state folder.

    Args:
        root: the folder.
    """

    __slots__ = ("root",)

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def identity(self) -> Path:
        """The private keys."""
        return self.root / "identity.key"

    @property
    def entry(self) -> Path:
        """The registrar-signed entry."""
        return self.root / "entry.signed"

    @property
    def certificate(self) -> Path:
        """The TLS certificate."""
        return self.root / "certificate.pem"

    @property
    def roster(self) -> Path:
        """The newest verified roster."""
        return self.root / "roster.signed"

    @property
    def root_key(self) -> Path:
        """The pinned root key."""
        return self.root / "root.pub"

    @property
    def policy(self) -> Path:
        """The owner's policy, unless one elsewhere is named."""
        return self.root / "policy.toml"

    @property
    def database(self) -> Path:
        """Orders and privacy ledger."""
        return self.root / "agent.db"

    @property
    def log(self) -> Path:
        """The owner's log."""
        return self.root / "owner.log"

    @property
    def streams(self) -> Path:
        """Folder of private streams."""
        return self.root / "streams"

    @property
    def runs(self) -> Path:
        """Folder of journals."""
        return self.root / "runs"

    def body(self, body: bytes) -> Path:
        """A sealed body, as fetched."""
        return self.root / "bodies" / body.hex()

    def outgoing(self, order: bytes) -> Path:
        """The sealed body of one order's answer."""
        return self.root / "outbox" / order.hex()

    def prepare(self) -> None:
        """Make the sub-folders."""
        for name in ("streams", "runs", "bodies", "outbox"):
            (self.root / name).mkdir(mode=0o700, exist_ok=True)

    def require_enrolled(self) -> None:
        """Check that enrolment has left its files here.

        Raises:
            ConfigError: it has not; the message says what to run.
        """
        missing = [path.name for path in (self.identity, self.entry, self.roster, self.root_key) if not path.exists()]
        if missing:
            raise ConfigError(
                f"{self.root} is not enrolled ({', '.join(missing)} missing); ask the registrar for a token and run: "
                f"sojourn-agent enrol --state {self.root} --token TOKEN"
            )
