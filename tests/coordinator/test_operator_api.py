"""The operators' listener over real TLS."""

import asyncio
import io
import json
import zipfile
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sojourn.client.api import Operator, OperatorError
from sojourn.client.provenance import trace
from sojourn.crypto import client_context, read_root_public
from sojourn.datoms import split_datoms, unpack
from sojourn.errors import ConfigError, PortInUse, ProvenanceBroken, StateInUse
from sojourn_coordinator.export import export_job
from sojourn_coordinator.server import Address, serve

ANY = Address("127.0.0.1", 0)


@asynccontextmanager
async def listening(world, token: str | None = None):
    """A running coordinator, an HTTP client with the operator's token, and links to agents in this process."""
    async with serve(world.state, ANY, ANY) as running:
        context = client_context(running.coordinator.house.trusted.roster.authority)
        headers = [(b"Authorization", f"Bearer {world.token if token is None else token}".encode())]
        base = f"https://127.0.0.1:{running.operators}"
        async with httpx.AsyncClient(base_url=base, verify=context, headers=headers, trust_env=False) as http:
            yield running.coordinator, http


@asynccontextmanager
async def agents_at_work(world, coordinator, links):
    coordinator.fleet.attach(links)
    async with world.working(coordinator, links):
        yield


async def finished(http, job: str) -> list[tuple[int, str, dict]]:
    events = []
    async with http.stream("GET", f"/v1/jobs/{job}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        name, number = "", 0
        async for line in response.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                number = int(value)
            elif field == "event":
                name = value
            elif field == "data":
                events.append((number, name, json.loads(value)))
    return events


async def test_a_job_from_submission_to_export(world, tmp_path: Path, links_class) -> None:
    async with listening(world) as (coordinator, http), agents_at_work(world, coordinator, links_class()):
        health = (await http.get("/v1/health")).json()
        assert health["status"] == "ok"
        while health["agents_connected"] < 3:  # they greet in tasks of their own; pytest's time limit bounds this
            await asyncio.sleep(0.01)
            health = (await http.get("/v1/health")).json()
        data = world.submission(rounds=2)
        job = (await http.post("/v1/jobs", content=data)).raise_for_status().json()["job"]
        assert (await http.post("/v1/jobs", content=data)).json()["job"] == job
        events = await finished(http, job)
        view = (await http.get(f"/v1/jobs/{job}")).raise_for_status().json()
        listed = (await http.get("/v1/jobs")).json()
        agents = (await http.get("/v1/agents")).json()
        models = {}
        for number in (None, 0, 1):
            answer = await http.get(f"/v1/jobs/{job}/model", params={} if number is None else {"round": number})
            root = bytes.fromhex(answer.headers["X-Sojourn-Root"])
            models[number] = (root, unpack(split_datoms(answer.content), root=root))
        export = (await http.get(f"/v1/jobs/{job}/export")).raise_for_status().content
        again = (await http.get(f"/v1/jobs/{job}/export")).content
        late = []
        async with http.stream("GET", f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "3"}) as response:
            late = [line async for line in response.aiter_lines() if line.startswith("id: ")]
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    assert events[-1][1] == "done"
    assert late[0] == "id: 4"
    assert len(late) == len(events) - 3
    assert view["state"] == "done"
    assert listed[0]["id"] == job
    assert (listed[0]["round"], listed[0]["rounds"]) == (2, 2)
    assert [agent["name"] for agent in agents] == ["agent-0", "agent-1", "agent-2"]
    assert models[None][0] == models[1][0] != models[0][0]
    assert view["model"] == models[1][0].hex()
    assert export == again
    path = tmp_path / "export.zip"
    path.write_bytes(export)
    traced = trace(path, read_root_public(world.layout.root_public), recompute=True)
    assert traced.model == view["model"]
    assert len(traced.rounds) == 2
    names = zipfile.ZipFile(io.BytesIO(export)).namelist()
    assert {"roster.signed", "job.signed", "plan.signed", "ledger.jsonl", "ledger.signed"} <= set(names)
    assert not [name for name in names if "envelope" in name]


async def test_an_altered_export_is_named(world, tmp_path: Path, wait_for_end) -> None:
    async with world.serving() as (coordinator, links), world.working(coordinator, links):
        job = await coordinator.submit(world.submission(rounds=1))
        await wait_for_end(coordinator, job)
        export = b"".join([piece async for piece in await export_job(coordinator.house, job)])
    archive = zipfile.ZipFile(io.BytesIO(export))
    changed = next(name for name in archive.namelist() if "/updates/" in name)
    path = tmp_path / "altered.zip"
    with zipfile.ZipFile(path, "w") as out:
        for name in archive.namelist():
            data = bytearray(archive.read(name))
            if name == changed:
                data[-200] ^= 1
            out.writestr(name, bytes(data))
    with pytest.raises(ProvenanceBroken, match=changed):
        trace(path, read_root_public(world.layout.root_public))


@pytest.mark.parametrize("token", ["", "wrong", "ünïcode"])
async def test_nothing_without_the_token(world, token: str) -> None:
    given = [(b"Authorization", f"Bearer {token}".strip().encode())] if token else []
    async with listening(world) as (_, http):
        del http.headers["Authorization"]
        for method, path in (("GET", "/v1/health"), ("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("PUT", "/v1/objects")):
            answer = await http.request(method, path, headers=given)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "unauthorised"
            assert world.token not in answer.text


async def test_an_operator_at_the_port_of_agents_is_told_so(world, tmp_path: Path) -> None:
    async with serve(world.state, ANY, ANY) as running:
        ca = tmp_path / "ca.pem"
        authority = x509.load_der_x509_certificate(running.coordinator.house.trusted.roster.authority)
        ca.write_bytes(authority.public_bytes(Encoding.PEM))

        def ask(port: int, token: str) -> object:
            with Operator(f"https://127.0.0.1:{port}", token, ca) as api:
                return api.jobs()

        assert await asyncio.to_thread(ask, running.operators, world.token) == []
        with pytest.raises(OperatorError, match="a listener for agents does; operators have a port of their own"):
            await asyncio.to_thread(ask, running.agents, world.token)
        with pytest.raises(OperatorError, match="token show --state FOLDER"):
            await asyncio.to_thread(ask, running.operators, "guess")


async def test_bad_requests_get_an_error_that_says_what_to_do(world) -> None:
    async with listening(world) as (_, http):
        cases = [
            (http.get("/v1/jobs/xyz"), 404, "not_found"),
            (http.get(f"/v1/jobs/{'0' * 64}"), 404, "not_found"),
            (http.get(f"/v1/jobs/{'0' * 64}/events"), 404, "not_found"),
            (http.get(f"/v1/jobs/{'0' * 64}/model"), 404, "not_found"),
            (http.get(f"/v1/jobs/{'0' * 64}/export"), 404, "not_found"),
            (http.get(f"/v1/jobs/{'0' * 64}/model", params={"round": "one"}), 400, "usage"),
            (http.get("/v1/nothing"), 404, "not_found"),
            (http.delete("/v1/jobs"), 405, "method_not_allowed"),
            (http.post("/v1/jobs", content=b""), 422, "decode"),
            (http.post("/v1/jobs", content=b"{}"), 422, "decode"),
            (http.post("/v1/jobs", content=world.submission(policy={"name": "krum"})), 400, "config"),
            (http.post("/v1/jobs", content=world.submission(rounds_entry="x")), 422, "program_invalid"),
            (http.post("/v1/jobs", content=world.submission(issued_ms=1, expires_ms=2)), 422, "expired"),
        ]
        for request, status, code in cases:
            answer = await request
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
            assert answer.json()["error"]["message"]


async def test_a_job_is_cancelled_once_and_by_somebody(world) -> None:
    async with listening(world) as (_, http):
        job = (await http.post("/v1/jobs", content=world.submission())).json()["job"]
        unnamed = await http.post(f"/v1/jobs/{job}/cancel")
        assert (unnamed.status_code, unnamed.json()["error"]["code"]) == (400, "usage")
        first = await http.post(f"/v1/jobs/{job}/cancel", params={"by": "alice"})
        again = await http.post(f"/v1/jobs/{job}/cancel", params={"by": "bob"})
        assert (first.status_code, again.status_code) == (200, 200)
        assert first.json() == {"job": job, "state": "cancelled", "new": True, "ended_ms": again.json()["ended_ms"]}
        assert again.json()["new"] is False
        assert [row["state"] for row in (await http.get("/v1/jobs")).json()] == ["cancelled"]
        assert (await finished(http, job))[-1][1:] == ("cancelled", {"by": "alice"})
        none = await http.post(f"/v1/jobs/{'0' * 64}/cancel", params={"by": "alice"})
        assert (none.status_code, none.json()["error"]["code"]) == (404, "not_found")


async def test_a_job_that_is_done_is_not_cancelled(world, links_class) -> None:
    async with listening(world) as (coordinator, http), agents_at_work(world, coordinator, links_class()):
        job = (await http.post("/v1/jobs", content=world.submission(rounds=1))).json()["job"]
        await finished(http, job)
        late = await http.post(f"/v1/jobs/{job}/cancel", params={"by": "alice"})
        assert (late.status_code, late.json()["error"]["code"]) == (409, "ended")


async def test_a_bad_last_event_id(world) -> None:
    async with listening(world) as (_, http):
        job = (await http.post("/v1/jobs", content=world.submission())).json()["job"]
        answer = await http.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "-1"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "usage")


async def test_a_body_that_is_too_large_is_refused(world, monkeypatch) -> None:
    monkeypatch.setattr("sojourn_coordinator.api.app.MAX_BUNDLE_BYTES", 1000)
    async with listening(world) as (_, http):
        answer = await http.post("/v1/jobs", content=bytes(1001))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "oversize")


async def test_objects_are_kept_by_digest(world) -> None:
    async with listening(world) as (_, http):
        first = (await http.put("/v1/objects", content=b"data")).json()["digest"]
        assert (await http.put("/v1/objects", content=b"data")).json()["digest"] == first
        assert first.startswith("3a6eb0790f39ac87")


async def test_followers_end_when_the_coordinator_stops(world) -> None:
    async with listening(world) as (_, http):
        job = (await http.post("/v1/jobs", content=world.submission())).json()["job"]
        following = asyncio.create_task(finished(http, job))
        await asyncio.sleep(0.2)
        assert not following.done()
    done, _ = await asyncio.wait({following}, timeout=5)
    assert done


async def test_ports_in_use_are_named(world) -> None:
    async with serve(world.state, ANY, ANY) as running:
        taken = running.operators, running.agents
    # Both are free again; now hold each one in turn.
    for number, port in enumerate(taken):
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
        addresses = [ANY, ANY]
        addresses[1 - number] = Address("127.0.0.1", port)
        with pytest.raises(PortInUse, match=str(port)):
            async with serve(world.state, *addresses):
                pass
        server.close()
        await server.wait_closed()
    async with serve(world.state, ANY, ANY):
        pass


async def test_one_process_for_a_state_folder(world) -> None:
    async with serve(world.state, ANY, ANY):
        with pytest.raises(StateInUse):
            async with serve(world.state, ANY, ANY):
                pass


async def test_a_folder_that_is_no_state(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        async with serve(tmp_path / "nothing", ANY, ANY):
            pass


@pytest.mark.parametrize("text", ["", "7443", "host:", "host:port", "host:70000", "host:-1"])
def test_addresses(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        Address.parse(text)
    assert Address.parse("[::1]:80") == Address("::1", 80)
    assert Address.parse(":80") == Address("127.0.0.1", 80)
