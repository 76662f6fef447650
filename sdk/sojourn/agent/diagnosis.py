"""Why a coordinator is not reached: what is likely wrong, and what to check.

Rules:

* Each kind of cause is told once, until a coordinator has greeted this agent again; the tries go on either way.
* What looks like a coordinator that is only just starting is told after the first few tries; what waiting does not
  mend, at once.
* A message names addresses and what to check; nothing of it rests on what the other end says of itself.
"""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

from websockets.exceptions import InvalidMessage, InvalidStatus

__all__ = ["Diagnosis", "cause_of"]

_PATIENT_TRIES: Final = 3
_PATIENT_S: Final = 3.0
_PATIENT: Final = frozenset({"nobody", "silent", "cut"})

_NOT_FOR_HOST: Final = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_NOT_NOW: Final = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_NO_WAY: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT})

_ADVICE: Final = {
    "nobody": "nobody listens at {where}{port}; check that the coordinator runs, and that this is the address of its "
    "listener for agents (`sojourn-coordinator run --agents`)",
    "silent": "{where} does not answer at all; check the address, the network, and firewalls in between",
    "name": "the name {host} is not known on this machine; check how the coordinator's address is written",
    "authority": "{where} shows a certificate of another federation than the one this agent is enrolled in; check the "
    "address, or enrol a new state folder with that federation's registrar",
    "host": "the certificate of {where} is not for {host}; reach the coordinator under a name or address that its keys "
    "were made for (`sojourn trust init --host`)",
    "clock": "the certificate of {where} does not hold at this machine's time; check the clock here and there",
    "plain": "what listens at {where} does not speak TLS; check the port: the coordinator's listener for agents is "
    "set by `sojourn-coordinator run --agents`",
    "http": "what listens at {where} takes no agents: it may be the coordinator's port for operators; check the port "
    "against `sojourn-coordinator run --agents` (7443 unless it says otherwise)",
    "party": "{where} belongs to this federation and is no coordinator of this agent's roster; check the port (is it "
    "the registrar's?), or fetch the newest roster if the coordinator has new keys",
    "cut": "{where} takes the connection and ends it; check that this is the coordinator's listener for agents, and "
    "what the coordinator's log says",
    "refused": "the coordinator does not accept this agent; check whether it was revoked or its enrolment has expired "
    "(`sojourn trust show`), and what the coordinator's log says",
    "superseded": "another process connects with this agent's keys; look for a copy of its state folder: each agent is "
    "enrolled on its own",
    "version": "the coordinator speaks another version of the protocol; update whichever of the two is older",
}


class Diagnosis:
    """What one link has met since it was last greeted.

    Args:
        url: the coordinator's address.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or url
        shown = f"[{host}]" if ":" in host else host
        self._words = {
            "host": host,
            "where": shown if parts.port is None else f"{shown}:{parts.port}",
            "port": " (the address names no port, so 443 is tried)" if parts.port is None else "",
        }
        self._met: dict[str, tuple[int, float]] = {}  # cause -> how often, since when; 0 once it was told

    def met(self, cause: str, now: float) -> str:
        """Count one failed try.

        Args:
            cause: as `cause_of` says it, or the reason of a coordinator's goodbye.
            now: seconds by a monotonic clock.

        Returns:
            What to tell; empty when it was told, when it is too early, or when nothing is known of the cause.
        """
        if cause not in _ADVICE:
            return ""
        tries, since = self._met.get(cause, (1, now))
        if not tries:
            return ""
        if cause in _PATIENT and (tries < _PATIENT_TRIES or now - since < _PATIENT_S):
            self._met[cause] = (tries + 1, since)
            return ""
        self._met[cause] = (0, since)
        return _ADVICE[cause].format(**self._words)

    def greeted(self) -> None:
        """All is well: what comes next is told anew."""
        self._met.clear()


def cause_of(problem: Exception) -> str:
    """Which kind of cause a failure to connect is: a key of this module's advice."""
    match problem:
        case ssl.SSLCertVerificationError(verify_code=code):
            return "host" if code in _NOT_FOR_HOST else "clock" if code in _NOT_NOW else "authority"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "HTTP_REQUEST" | "RECORD_LAYER_FAILURE"):
            return "plain"
        case InvalidStatus() | InvalidMessage():
            return "cut" if isinstance(problem.__cause__, EOFError) else "http"
        case socket.gaierror():
            return "name"
        case TimeoutError():
            return "silent"
        case ConnectionRefusedError():
            return "nobody"
        case OSError(errno=number) if number in _NO_WAY:
            return "silent"
        case OSError(errno=None) if type(problem) is OSError:  # a failure for each address that the name has
            return "nobody"
        case _:
            return "cut"
