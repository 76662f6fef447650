"""Routes of the operators' API.

Rules:

* Every route needs `Authorization: Bearer <token>`; the comparison takes the same time whatever was sent.
* Errors are JSON: `{"error": {"code", "message"}}`, 4xx for what the caller can mend, 401 before anything is read.
* Nothing here holds state: routes verify, call the coordinator, and show its rows.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import sojourn
from fastapi import Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from sojourn.errors import DecodeError, PeerError, Refusal, SojournError, StoreError, UsageError
from sojourn.limits import MAX_BUNDLE_BYTES
from starlette.exceptions import HTTPException

from sojourn_coordinator.cancelling import CANCELLED, JobEnded
from sojourn_coordinator.export import export_job
from sojourn_coordinator.jobs import keep_object
from sojourn_coordinator.queries import (
    UnknownObject,
    agents_view,
    job_view,
    jobs_view,
    known_job,
    model_view,
    parse_id,
)
from sojourn_coordinator.service import Coordinator
from sojourn_coordinator.standing import programs_view, standing_view

__all__ = ["create_app"]

_HEARTBEAT: Final = ": \n\n"


class _Unauthorised(UsageError):
    code = "unauthorised"


class _TooLarge(UsageError):
    code = "oversize"


def create_app(coordinator: Coordinator, token: str) -> FastAPI:
    """The application for one coordinator.

    Args:
        coordinator: opened and started.
        token: the operator's bearer token.
    """
    app = FastAPI(title="Sojourn coordinator", version=sojourn.__version__, docs_url=None, redoc_url=None)
    app.add_exception_handler(SojournError, _sojourn_error)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(HTTPException, _http_error)
    expected = f"Bearer {token}".encode()

    def authorised(request: Request) -> None:
        given = request.headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, expected):
            raise _Unauthorised(
                "this is not the token of this coordinator: `sojourn-coordinator token show --state FOLDER` "
                "prints it where the coordinator runs; pass a file with it, such as operator.token in that folder, as "
                "--token-file (SOJOURN_TOKEN_FILE)"
            )

    guard = [Depends(authorised)]
    _add_queries(app, coordinator, guard)
    _add_streams(app, coordinator, guard)
    return app


def _add_queries(app: FastAPI, coordinator: Coordinator, guard: list[Any]) -> None:
    house = coordinator.house

    @app.get("/v1/health", dependencies=guard)
    async def health() -> dict[str, Any]:
        """Version, and whether the coordinator serves."""
        connected = sum(agent.connected for agent in coordinator.fleet.agents.values())
        return {
            "status": "ok",
            "version": sojourn.__version__,
            "coordinator": house.identity.key.hex(),
            "agents_connected": connected,
        }

    @app.get("/v1/agents", dependencies=guard)
    async def agents() -> list[dict[str, Any]]:
        """Agents that have ever connected."""
        present = {key for key, agent in coordinator.fleet.agents.items() if agent.connected}
        return await agents_view(house.database, present)

    @app.get("/v1/jobs", dependencies=guard)
    async def jobs() -> list[dict[str, Any]]:
        """All jobs, oldest first."""
        return await jobs_view(house.database)

    @app.get("/v1/jobs/{job}", dependencies=guard)
    async def job(job: str) -> dict[str, Any]:
        """State and table of one job, what it waits for, and its latest phase by agent."""
        identity = await known_job(house.database, parse_id(job))
        programs = await programs_view(house, identity)
        return {
            **await job_view(house.database, identity),
            **await standing_view(house, identity),
            "programs": programs,
        }

    @app.post("/v1/jobs", dependencies=guard)
    async def submit(request: Request) -> dict[str, str]:
        """Submit a signed bundle; the same job again gives the same id."""
        return {"job": (await coordinator.submit(await _body(request))).hex()}

    @app.post("/v1/jobs/{job}/cancel", dependencies=guard)
    async def cancel(job: str, by: Annotated[str, Query()]) -> dict[str, Any]:
        """End a job; one that was cancelled before stays as it is."""
        identity = await known_job(house.database, parse_id(job))
        found = await coordinator.cancel(identity, by)
        return {"job": job, "state": CANCELLED, "new": found.new, "ended_ms": found.ended_ms}

    @app.put("/v1/objects", dependencies=guard)
    async def put_object(request: Request) -> dict[str, str]:
        """Keep bytes under their SHA-256."""
        return {"digest": (await keep_object(house, await _body(request))).hex()}


def _add_streams(app: FastAPI, coordinator: Coordinator, guard: list[Any]) -> None:
    house = coordinator.house

    @app.get("/v1/jobs/{job}/events", dependencies=guard)
    async def events(job: str, last_event_id: Annotated[str | None, Header()] = None) -> StreamingResponse:
        """Server-sent events from `Last-Event-ID` on, to the end of the job."""
        identity = await known_job(house.database, parse_id(job))
        after = last_event_id or "0"
        if not after.isdecimal():
            raise UsageError("Last-Event-ID is the number of the last event that was seen, or 0")
        return StreamingResponse(_events(coordinator, identity, int(after)), media_type="text/event-stream")

    @app.get("/v1/jobs/{job}/model", dependencies=guard)
    async def model(job: str, round_: Annotated[int | None, Query(alias="round", ge=0)] = None) -> Response:
        """A published model as joined datoms; its root is in the header X-Sojourn-Root."""
        joined, root = await model_view(house, parse_id(job), round_)
        return Response(joined, media_type="application/octet-stream", headers={"X-Sojourn-Root": root.hex()})

    @app.get("/v1/jobs/{job}/export", dependencies=guard)
    async def export(job: str) -> StreamingResponse:
        """The provenance export, a zip."""
        pieces = await export_job(house, parse_id(job))
        name = f'attachment; filename="sojourn-{job[:16]}.zip"'
        return StreamingResponse(pieces, media_type="application/zip", headers={"Content-Disposition": name})


async def _events(coordinator: Coordinator, job: bytes, after: int) -> AsyncIterator[str]:
    yield _HEARTBEAT
    async for event in coordinator.house.feed.follow(job, after):
        yield f"id: {event.sequence}\nevent: {event.name}\ndata: {event.data}\n\n"


async def _body(request: Request) -> bytes:
    """The request's body, refused as soon as it is larger than a bundle may be."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BUNDLE_BYTES:
            raise _TooLarge(f"the body is larger than {MAX_BUNDLE_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _status(problem: SojournError) -> int:
    match problem:
        case _Unauthorised():
            return 401
        case UnknownObject():
            return 404
        case JobEnded():
            return 409
        case _TooLarge() | DecodeError(reason="oversize"):
            return 413
        case PeerError() | Refusal():
            return 422
        case StoreError():
            return 503
        case UsageError():
            return 400
        case _:
            return 500


async def _sojourn_error(_request: Request, problem: Exception) -> JSONResponse:
    if not isinstance(problem, SojournError):
        raise problem
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(problem, _Unauthorised) else None
    return _error(_status(problem), problem.code, str(problem), headers)


async def _bad_request(_request: Request, problem: Exception) -> JSONResponse:
    found = problem.errors() if isinstance(problem, RequestValidationError) else []
    text = "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in found)
    return _error(400, "usage", text or "the request is not valid")


async def _http_error(_request: Request, problem: Exception) -> JSONResponse:
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    codes = {404: "not_found", 405: "method_not_allowed"}
    detail = problem.detail if isinstance(problem, HTTPException) else "the request failed"
    return _error(status, codes.get(status, "http"), f"{detail}; see the guide for the routes under /v1")


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status, headers=headers)
