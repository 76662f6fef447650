"""Making a federation's trust: the root key, its first roster, and the folders of the parties that stand in it.

Rules:

* One call makes everything on one machine; each party's folder then moves to that party, and `root/` goes offline.
* Folders have mode 0700, keys 0600; nothing that exists is overwritten.
* A roster changes only by `revise_roster`, with the root key at hand, and its version counts up.

Layout below the given directory (`<author>` is the author's name)::

    root/          root.key  root.pub  roster.signed
    registrar/     identity.key  certificate.pem  authority.key  root.pub  roster.signed
    coordinator/   identity.key  certificate.pem  root.pub  roster.signed
    author/        identity.key  root.pub  roster.signed          (the first author)
    author-<name>/ …                                               (any further one)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from sojourn.codec import decode
from sojourn.contracts import SUITE_1, Entry, Roster
from sojourn.crypto.certificates import LOOPBACK_HOSTS, Authority
from sojourn.crypto.documents import open_signed
from sojourn.crypto.identity import IDENTITY_FILE, Identity, RootKey, read_root_public, write_root_public
from sojourn.crypto.keyfiles import make_private_folder, read_public, write_public
from sojourn.crypto.trust import TrustedSet
from sojourn.errors import ConfigError

__all__ = [
    "AUTHORITY_FILE",
    "ROOT_KEY_FILE",
    "ROOT_PUBLIC_FILE",
    "ROSTER_FILE",
    "TrustLayout",
    "create_trust",
    "load_trusted_set",
    "now_ms",
    "revise_roster",
]

ROOT_KEY_FILE: Final = "root.key"
ROOT_PUBLIC_FILE: Final = "root.pub"
ROSTER_FILE: Final = "roster.signed"
AUTHORITY_FILE: Final = "authority.key"
YEAR_MS: Final = 366 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class TrustLayout:
    """The folders that `create_trust` made.

    Attributes:
        root: the root key; keep it offline.
        registrar: for `RegistrarState`.
        coordinator: for the coordinator's state.
        authors: one for each author, in the order given.
    """

    root: Path
    registrar: Path
    coordinator: Path
    authors: tuple[Path, ...]

    @property
    def author(self) -> Path:
        """The first author's folder."""
        return self.authors[0]

    @property
    def root_public(self) -> Path:
        """The pin's file."""
        return self.root / ROOT_PUBLIC_FILE

    @property
    def roster(self) -> Path:
        """The signed roster's file."""
        return self.root / ROSTER_FILE


def now_ms() -> int:
    """The host's clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


def create_trust(
    directory: Path,
    *,
    authors: Sequence[str] = ("author",),
    hosts: Iterable[str] = (),
    lifetime_ms: int = YEAR_MS,
    at_ms: int | None = None,
) -> TrustLayout:
    """Make root key, authority, registrar, coordinator, authors, and the first roster that names them.

    Args:
        directory: is created; the parties' folders go below it (see the module's layout).
        authors: names of the authors, one or more.
        hosts: DNS names and addresses under which coordinator and registrar are dialled, besides loopback.
        lifetime_ms: of the roster and its entries.
        at_ms: time of issue; the host's clock by default.

    Raises:
        ConfigError: a folder exists already, or there is no author, or two of one name.
    """
    if not authors or len(set(authors)) != len(authors):
        raise ConfigError("a federation has one author or more, each with a name of its own")
    issued = now_ms() if at_ms is None else at_ms
    expires = issued + lifetime_ms
    folders = ["author", *(f"author-{name}" for name in authors[1:])]
    layout = TrustLayout(
        root=directory / "root",
        registrar=directory / "registrar",
        coordinator=directory / "coordinator",
        authors=tuple(directory / folder for folder in folders),
    )
    parties = (layout.registrar, layout.coordinator, *layout.authors)
    for folder in (layout.root, *parties):
        if folder.exists():
            raise ConfigError(f"{folder} exists; trust is never overwritten: choose another directory")
    root, authority = RootKey.generate(), Authority.generate()
    names = (*LOOPBACK_HOSTS, *(host for host in hosts if host not in LOOPBACK_HOSTS))
    identities = [
        authority.certify(Identity.generate("registrar", "registrar"), hosts=names),
        authority.certify(Identity.generate("coordinator", "coordinator"), hosts=names),
        *(Identity.generate("author", name) for name in authors),
    ]
    roster = Roster(
        suite=SUITE_1,
        version=1,
        issued_ms=issued,
        expires_ms=expires,
        authority=authority.certificate,
        entries=tuple(identity.entry(issued, expires) for identity in identities),
        revoked=(),
    )
    signed = root.sign_roster(roster)
    for folder in (layout.root, *parties):
        make_private_folder(folder)
        write_root_public(folder / ROOT_PUBLIC_FILE, root.public)
        write_public(folder / ROSTER_FILE, signed)
    root.save(layout.root / ROOT_KEY_FILE)
    authority.save(layout.registrar / AUTHORITY_FILE)
    for folder, identity in zip(parties, identities, strict=True):
        identity.save(folder / IDENTITY_FILE)
    return layout


def revise_roster(
    root_folder: Path,
    *,
    add: Iterable[Entry] = (),
    revoke: Iterable[bytes] = (),
    lifetime_ms: int = YEAR_MS,
    at_ms: int | None = None,
) -> bytes:
    """Sign the next version of the roster in `root_folder`; returns its bytes, to be given to all parties.

    Args:
        root_folder: with the root key and the newest roster, which is replaced.
        add: entries of further authors, coordinators or registrars.
        revoke: key ids, of agents too. Revocations are never taken back.
        lifetime_ms: of the new roster; entries keep their own.
        at_ms: time of issue; the host's clock by default.

    Raises:
        ConfigError: a file is missing or damaged.
        TrustError: the roster there is not this root's.
    """
    issued = now_ms() if at_ms is None else at_ms
    root = RootKey.load(root_folder / ROOT_KEY_FILE)
    data = read_public(root_folder / ROSTER_FILE)
    claimed = decode(Roster, open_signed(data, "roster").payload).issued_ms  # one that has expired is revised too
    before = TrustedSet(root.public).load_roster(data, claimed)
    roster = msgspec.structs.replace(
        before,
        version=before.version + 1,
        issued_ms=issued,
        expires_ms=issued + lifetime_ms,
        entries=(*before.entries, *add),
        revoked=tuple(sorted({*before.revoked, *revoke})),
    )
    signed = root.sign_roster(roster)
    TrustedSet(root.public).load_roster(signed, issued)
    write_public(root_folder / ROSTER_FILE, signed)
    return signed


def load_trusted_set(folder: Path, *, floor_ms: int = 0, at_ms: int | None = None) -> TrustedSet:
    """The trusted set of a party whose folder holds `root.pub` and `roster.signed`.

    Args:
        folder: of the party.
        floor_ms: highest time seen, from the party's durable storage.
        at_ms: the host's clock by default.

    Raises:
        ConfigError: a file is missing or damaged.
        TrustError: the roster does not hold; the message says why.
    """
    trusted = TrustedSet(read_root_public(folder / ROOT_PUBLIC_FILE), floor_ms=floor_ms)
    trusted.load_roster(read_public(folder / ROSTER_FILE), now_ms() if at_ms is None else at_ms)
    return trusted
