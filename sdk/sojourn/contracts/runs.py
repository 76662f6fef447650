"""Run and occurrence: the names under which everything a program does is journalled and committed once."""

from __future__ import annotations

from typing import NamedTuple

from sojourn.codec import digest_parts

__all__ = ["Occurrence", "child_run", "root_run"]


class Occurrence(NamedTuple):
    """One parking: `(run, operation number)`. Journals and exactly-once results name it."""

    run: bytes
    operation: int


def root_run(job: bytes, nonce: bytes) -> bytes:
    """The run of a submitted job, minted at submission: 32 bytes.

    Args:
        job: digest of the author-signed job, 32 bytes.
        nonce: 16 fresh random bytes of the coordinator, stored with the submission.
    """
    return digest_parts("run/root", job, nonce)


def child_run(parent: bytes, operation: int, index: int) -> bytes:
    """The run of a child: a hash of the parent's run, the operation that made it and the child's index.

    A private region is child 0 of the operation that enters it; the agents of a `fleet.ask` are children 0, 1, …
    in the order of the frozen participant list.
    """
    return digest_parts("run/child", parent, operation.to_bytes(8, "big"), index.to_bytes(8, "big"))
