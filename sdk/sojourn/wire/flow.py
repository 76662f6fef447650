"""Credit: how many payload bytes of a channel may be under way.

Rules of this module:

* Both windows of a channel start at `INITIAL_CREDIT_BYTES`. A sender takes from its window before it sends; a receiver
  grants only what its consumer has taken, so that what lies unread is never more than the window.
* Grants go out in quarters of the window: a message for each chunk would cost more than it tells.
"""

from __future__ import annotations

from typing import Final

from sojourn.errors import WireViolation
from sojourn.limits import INITIAL_CREDIT_BYTES

__all__ = ["GRANT_BYTES", "ReceiveWindow", "SendWindow"]

GRANT_BYTES: Final = INITIAL_CREDIT_BYTES // 4


class SendWindow:
    """The sender's side: `credit` bytes may go now."""

    __slots__ = ("credit",)

    def __init__(self) -> None:
        self.credit = INITIAL_CREDIT_BYTES

    def take(self, size: int) -> None:
        """Spend `size` bytes of credit.

        Raises:
            WireViolation: `credit`, more than there is: the caller has to wait for a grant.
        """
        if size > self.credit:
            raise WireViolation("credit", f"{size} bytes to send with a credit of {self.credit}")
        self.credit -= size

    def grant(self, size: int) -> None:
        """The peer's grant.

        Raises:
            WireViolation: `credit`, more than the peer can have consumed.
        """
        if self.credit + size > INITIAL_CREDIT_BYTES:
            raise WireViolation("credit", f"a grant of {size} bytes on top of {self.credit} unspent ones")
        self.credit += size


class ReceiveWindow:
    """The receiver's side: `open` bytes may still come; `consumed` ones wait to be granted again."""

    __slots__ = ("consumed", "open")

    def __init__(self) -> None:
        self.open = INITIAL_CREDIT_BYTES
        self.consumed = 0

    def receive(self, size: int) -> None:
        """Account for data that came.

        Raises:
            WireViolation: `credit`, the peer sent more than it was granted.
        """
        if size > self.open:
            raise WireViolation("credit", f"{size} bytes came with a credit of {self.open}")
        self.open -= size

    def consume(self, size: int, remaining: int) -> int:
        """The consumer took `size` bytes; returns how many to grant now, 0 for not yet.

        Args:
            size: bytes taken.
            remaining: bytes of the body that have not come yet; what is open beyond them needs no grant.
        """
        self.consumed += size
        if self.consumed < GRANT_BYTES or self.open >= remaining:
            return 0
        granted, self.consumed = self.consumed, 0
        self.open += granted
        return granted
