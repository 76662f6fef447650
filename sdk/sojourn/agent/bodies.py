"""Sealed bodies: fetched once, kept as they came, opened when they are needed.

Rules:

* A file under `bodies/` is named by the SHA-256 of its bytes and is a cache: a damaged or missing one is fetched again.
* Nothing made of a body is used before all of it came and is the one that the order names.
* Opening is for worker threads; fetching is for the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from sojourn.agent.objects import Array
from sojourn.contracts import BodyRef
from sojourn.crypto import BodyOpener
from sojourn.datoms import DatomSplitter, unpack
from sojourn.errors import PeerError

__all__ = ["BodyFetcher", "BodyStore"]

_CHUNK_BYTES: Final = 1 << 20


class BodyFetcher(Protocol):
    """The link, as bodies need it."""

    def fetch(self, body: bytes, length: int) -> AsyncIterator[bytes | memoryview]:
        """The sealed bytes of a body, in order, across reconnections."""


class BodyStore:
    """The folder of fetched bodies.

    Args:
        folder: `bodies/` of the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, ref: BodyRef) -> Path:
        """Where a body lies, once fetched."""
        return self._folder / ref.id.hex()

    async def ensure(self, ref: BodyRef, fetcher: BodyFetcher) -> None:
        """Fetch a body unless it is here whole."""
        if await asyncio.to_thread(self._has, ref):
            return
        with self.path(ref).open("wb") as file:
            async for chunk in fetcher.fetch(ref.id, ref.length):
                file.write(chunk)

    def _has(self, ref: BodyRef) -> bool:
        """Whether the file is here and whole; what a crash or a cut left of one is not."""
        try:
            if self.path(ref).stat().st_size != ref.length:
                return False
            with self.path(ref).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest() == ref.id
        except FileNotFoundError:
            return False

    def read(self, ref: BodyRef, key: bytes) -> bytes:
        """The plain bytes of a fetched body.

        Raises:
            PeerError: it is not the body that the order names; the file is gone then.
        """
        with self._dropping(ref):
            return b"".join(self._plain(ref, key))

    def tensors(self, ref: BodyRef, key: bytes, root: bytes) -> dict[str, Array]:
        """The tensors of a fetched body that holds a stream of datoms, in memory of one of them.

        Raises:
            PeerError: it is not the body, or the stream, that the order names; the file is gone then.
        """
        with self._dropping(ref):
            return unpack(_datoms(self._plain(ref, key)), root=root)

    def _plain(self, ref: BodyRef, key: bytes) -> Iterator[bytes]:
        opener = BodyOpener(ref, key)
        with self.path(ref).open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield from opener.feed(chunk)
        opener.finish()

    @contextlib.contextmanager
    def _dropping(self, ref: BodyRef) -> Iterator[None]:
        try:
            yield
        except PeerError:
            self.path(ref).unlink(missing_ok=True)
            raise

    def keep_only(self, wanted: Iterable[bytes]) -> None:
        """Drop the files of all other bodies."""
        names = {body.hex() for body in wanted}
        for path in self._folder.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)


def _datoms(chunks: Iterator[bytes]) -> Iterator[bytes]:
    splitter = DatomSplitter()
    for chunk in chunks:
        yield from splitter.feed(chunk)
    splitter.finish()
