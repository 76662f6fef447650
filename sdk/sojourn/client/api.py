"""Client of the coordinator's operator API: HTTPS with a bearer token.

Every method either returns decoded values or raises `OperatorError` with the coordinator's own code and message, or
with what to check when it cannot be reached.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx

from sojourn.client.reaching import why_unreachable, wrong_listener
from sojourn.codec import digest
from sojourn.errors import SojournError

__all__ = ["Event", "Operator", "OperatorError"]

TIMEOUT_S: Final = 30.0
RECONNECT_S: Final = 0.2
ENDS: Final = frozenset({"done", "failed", "cancelled"})
"""Events that are a job's last."""


class OperatorError(SojournError):
    """The coordinator refused a request, or cannot be reached.

    Attributes:
        status: HTTP status, 0 when there was no answer.
        reason: the coordinator's error code, or `unreachable`.
    """

    code = "operator"

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's durable event sequence."""

    sequence: int
    name: str
    data: dict[str, Any]


class Operator:
    """A connection to one coordinator.

    Args:
        url: `https://host:port` of the operators' listener.
        token: the operator's bearer token.
        authority: PEM file of the private certificate authority that signed the coordinator's certificate.
    """

    def __init__(self, url: str, token: str, authority: Path) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            verify=context,
            timeout=TIMEOUT_S,
            trust_env=False,
        )
        self.url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def health(self) -> dict[str, Any]:
        """Version and state of the coordinator."""
        found: dict[str, Any] = self._json("GET", "/v1/health")
        return found

    def agents(self) -> list[dict[str, Any]]:
        """Agents that the coordinator knows: name, key, connected."""
        found: list[dict[str, Any]] = self._json("GET", "/v1/agents")
        return found

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs, oldest first."""
        found: list[dict[str, Any]] = self._json("GET", "/v1/jobs")
        return found

    def submit(self, submission: bytes) -> str:
        """Submit a bundle that its author signed; the same bytes again give the same job.

        Args:
            submission: an encoded `Bundle`; see `sojourn.client.submission`.

        Returns:
            The job's id, hexadecimal.
        """
        answer = self._json("POST", "/v1/jobs", content=submission)
        job: str = answer["job"]
        return job

    def job(self, job: str) -> dict[str, Any]:
        """State, table by round and current model of one job."""
        found: dict[str, Any] = self._json("GET", f"/v1/jobs/{job}")
        return found

    def cancel(self, job: str, by: str) -> dict[str, Any]:
        """End a job; one that was cancelled before stays as it is.

        Args:
            job: id of the job.
            by: who says so. It goes into the job's ledger as it is: the coordinator cannot verify it.

        Returns:
            `job`, `state`, `ended_ms`, and `new`: whether this request ended it.

        Raises:
            OperatorError: with reason `ended` where the job is done or has failed.
        """
        found: dict[str, Any] = self._json("POST", f"/v1/jobs/{job}/cancel", params={"by": by})
        return found

    def events(self, job: str, after: int = 0) -> Iterator[Event]:
        """One connection's worth of a job's events after sequence number `after`; ends when the job has ended."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        with self._stream("GET", f"/v1/jobs/{job}/events", headers=headers) as response:
            yield from _events(response.iter_lines())

    def follow(self, job: str, *, patience_s: float = 60.0) -> Iterator[Event]:
        """Every event of a job from its beginning to its end, across restarts of the coordinator.

        Args:
            job: id of the job.
            patience_s: how long the coordinator may be out of reach before this gives up.

        Raises:
            OperatorError: out of reach for longer than `patience_s`, or refused.
        """
        after, lost = 0, None
        while True:
            try:
                for event in self.events(job, after):
                    after, lost = event.sequence, None
                    yield event
                    if event.name in ENDS:
                        return
            except OperatorError as problem:
                if problem.status:
                    raise
                lost = time.monotonic() if lost is None else lost
                if time.monotonic() - lost > patience_s:
                    raise
            time.sleep(RECONNECT_S)

    def model(self, job: str, round_: int | None = None) -> tuple[bytes, str]:
        """A published model as joined datoms, and its root in hexadecimal.

        Args:
            job: id of the job.
            round_: which round's model; None is the last one published.
        """
        response = self._request("GET", f"/v1/jobs/{job}/model", params={} if round_ is None else {"round": round_})
        return response.content, response.headers["X-Sojourn-Root"]

    def export(self, job: str, path: Path) -> str:
        """Write the provenance export of a job to `path`; returns its SHA-256."""
        with self._stream("GET", f"/v1/jobs/{job}/export") as response, path.open("wb") as out:
            for chunk in response.iter_bytes():
                out.write(chunk)
        return digest(path.read_bytes()).hex()

    def _json(self, method: str, path: str, **more: Any) -> Any:
        return self._request(method, path, **more).json()

    def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **more)
        except httpx.TransportError as problem:
            raise self._unreachable(problem) from problem
        return self._checked(response)

    @contextmanager
    def _stream(self, method: str, path: str, **more: Any) -> Iterator[httpx.Response]:
        timeout = httpx.Timeout(TIMEOUT_S, read=None)
        try:
            with self._http.stream(method, path, timeout=timeout, **more) as response:
                if response.is_error:
                    response.read()
                yield self._checked(response)
        except httpx.TransportError as problem:
            raise self._unreachable(problem) from problem

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if not response.is_error:
            return response
        if response.status_code == httpx.codes.UPGRADE_REQUIRED:
            raise OperatorError(response.status_code, "wrong_listener", wrong_listener(self.url))
        try:
            error = response.json()["error"]
            code, message = str(error["code"]), str(error["message"])
        except (ValueError, KeyError, TypeError):
            code, message = "http", response.text[:500]
        raise OperatorError(response.status_code, code, f"{code}: {message}")

    def _unreachable(self, problem: httpx.TransportError) -> OperatorError:
        return OperatorError(0, "unreachable", why_unreachable(self.url, str(problem)))


def _events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events (WHATWG HTML, section 9.2), the fields `id`, `event` and `data`."""
    sequence, name, data = 0, "message", list[str]()
    for line in lines:
        if not line:
            if data:
                yield Event(sequence, name, json.loads("\n".join(data)))
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            sequence = int(value)
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
