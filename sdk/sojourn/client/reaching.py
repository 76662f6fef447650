"""Why a coordinator cannot be reached, in words that say what to do: pure, from what TLS and sockets report."""

from __future__ import annotations

from typing import Final

__all__ = ["why_unreachable", "wrong_listener"]

_OPERATORS: Final = "operators have a port of their own (--operators of `sojourn-coordinator run`, 7444 by default)"


def why_unreachable(url: str, problem: str) -> str:
    """What to tell somebody whose request had no answer.

    Args:
        url: as it was given.
        problem: text of what went wrong, from the transport.
    """
    if "certificate verify failed" in problem and "not valid for" in problem:
        why = (
            "its certificate is not made out for this name or address; use one that it has "
            "(`sojourn trust init --host NAME` adds names when a federation is made)"
        )
    elif "certificate verify failed" in problem:
        why = (
            "its certificate was not signed by the authority in --ca (SOJOURN_CA): pass the ca.pem of the "
            "federation that this coordinator belongs to, or see whether this is the coordinator that you mean"
        )
    elif "WRONG_VERSION_NUMBER" in problem or "record layer failure" in problem:
        why = f"what listens there speaks no TLS; {_OPERATORS}"
    elif "Connection refused" in problem:
        why = f"nothing listens there: check that it runs, and host and port; {_OPERATORS}"
    elif "disconnected without" in problem or "CERTIFICATE_REQUIRED" in problem or "reset by peer" in problem:
        why = f"what listens there closed the connection without an answer, as a listener for agents does; {_OPERATORS}"
    else:
        why = f"{problem}; check that it runs and that the URL is right"
    return f"cannot reach the coordinator at {url}: {why}"


def wrong_listener(url: str) -> str:
    """What to tell somebody who speaks HTTP to a listener for websockets, as a registrar's is."""
    return (
        f"{url} is not a coordinator's listener for operators: it takes websockets, as a registrar does; {_OPERATORS}"
    )
