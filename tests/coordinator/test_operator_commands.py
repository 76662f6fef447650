"""An operator's commands as processes, on a job that waits: lines as they happen, cancelling, exit codes."""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sojourn_coordinator.server import Address, serve

ANY = Address("127.0.0.1", 0)
SOJOURN = str(Path(sys.executable).with_name("sojourn"))


class Commands:
    """`sojourn` with an operator's environment, its output piped."""

    def __init__(self, **env: str) -> None:
        self.env = {**os.environ, **env}

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(SOJOURN, *words, stdout=pipe, stderr=pipe, env=self.env)

    async def __call__(self, *words: str) -> tuple[int, str, str]:
        child = await self.start(*words)
        out, err = await child.communicate()
        return child.returncode, out.decode(), err.decode()


@asynccontextmanager
async def operating(world, folder: Path):
    (folder / "token").write_text(world.token)
    async with serve(world.state, ANY, ANY) as running:
        authority = x509.load_der_x509_certificate(running.coordinator.house.trusted.roster.authority)
        (folder / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
        yield (
            running.coordinator,
            Commands(
                SOJOURN_COORDINATOR=f"https://127.0.0.1:{running.operators}",
                SOJOURN_TOKEN_FILE=str(folder / "token"),
                SOJOURN_CA=str(folder / "ca.pem"),
            ),
        )


async def test_what_a_waiting_job_shows_and_how_it_is_cancelled(world, tmp_path: Path) -> None:
    async with operating(world, tmp_path) as (coordinator, sojourn):
        job = (await coordinator.submit(world.submission())).hex()
        following = await sojourn.start("follow", job[:12])
        async with asyncio.timeout(30):  # while it runs: nothing is held back in a pipe
            assert await following.stderr.readline() == b"submitted: test\n"
            assert (await following.stderr.readline()).startswith(b"waiting: 0 of 3 agents connected (quorum 2); ")
            await world.hands[0].connect(coordinator)
            assert (await following.stderr.readline()).startswith(b"waiting: 1 of 3 agents connected (quorum 2); ")

        code, out, _ = await sojourn("job", job[:12])
        assert code == 0
        stands, waits = out.splitlines()
        assert stands == "test  running  round 0 of 2"
        assert waits.startswith("waiting: 1 of 3 agents connected (quorum 2); all are asked when they are there")
        shown = json.loads((await sojourn("job", job, "--json"))[1])
        assert shown["waiting"] == {"round": 0, "connected": 1, "needed": 3, "quorum": 2}

        short = await sojourn("cancel", job[:5], "--by", "alice")
        assert (short[0], short[1], "give 6 digits or more" in short[2]) == (2, "", True)
        assert await sojourn("cancel", job[:6], "--by", "alice") == (0, f"{job}  cancelled\n", "")
        code, out, err = await sojourn("cancel", job, "--by", "bob", "--json")
        assert (code, json.loads(out)["new"], err) == (0, False, "")
        out, err = await following.communicate()
        assert (following.returncode, out) == (3, b"")
        assert err == b"error: the job was cancelled by alice\n"

        code, out, _ = await sojourn("job", job)
        assert (code, out.splitlines()[-1]) == (0, "the job was cancelled by alice")
        assert json.loads((await sojourn("job", job, "--json"))[1])["cancelled_by"] == "alice"
        (tmp_path / "again.submission").write_bytes(world.submission(nonce=bytes([7]) * 16))
        code, out, _ = await sojourn("submit", str(tmp_path / "again.submission"))
        named = await sojourn("cancel", out.strip(), "--by", "")
        assert (named[0], "say who cancels" in named[2]) == (1, True)


async def test_what_a_job_shows_that_missed_its_quorum(world, tmp_path: Path, links_class) -> None:
    async with operating(world, tmp_path) as (coordinator, sojourn):
        links = links_class()
        coordinator.fleet.attach(links)
        for hand in world.hands:
            await hand.connect(coordinator)
        job = (await coordinator.submit(world.submission(rounds=1, deadline_ms=500))).hex()
        no = {"outcome": "refused", "code": "admission_refused", "releases": ()}
        hand = world.hands[0]
        await hand.offer(coordinator, hand.prepare(coordinator, await hand.take(links), **no))
        code, out, err = await sojourn("follow", job)
        assert (code, out) == (3, "")
        lines = err.splitlines()
        assert lines[:2] == ["submitted: test", "round 0: train goes to 3 agents"]
        assert lines[2].startswith("round 0: agent-0 refused, admission_refused: its owner's policy does not admit")
        assert lines[3] == "round 0: train missed its quorum with 0 answers"
        steps = [line.split()[0] for line in lines[4:-1]]
        assert steps == ["owners", "a", "see", "a"]  # admit, ask more of them, connect, submit again
        assert "build the submission once more and submit that file" in lines[-2]
        assert lines[-1] == (
            "error: the job failed with QuorumMissed at line 18 of the job's program, in 'rounds': phase 'train' of "
            "round 0 has 0 answers, its quorum is 2"
        )
        code, out, _ = await sojourn("job", job)
        assert code == 0
        assert out.splitlines()[-5:] == [lines[-1].removeprefix("error: "), *lines[4:-1]]
        assert "train, round 0: 0 of 3 agents answered, quorum 2 missed" in out
        assert all(word in out for word in ("agent-0", "refused", "admission_refused", "agent-2", "silent"))
        late = await sojourn("cancel", job)
        assert (late[0], late[1], "has failed, there is nothing to cancel" in late[2]) == (1, "", True)


async def test_submitting_and_following_ends_with_the_table(world, tmp_path: Path, links_class) -> None:
    async with operating(world, tmp_path) as (coordinator, sojourn):
        links = links_class()
        coordinator.fleet.attach(links)
        for hand in world.hands:
            await hand.connect(coordinator)
        (tmp_path / "one.submission").write_bytes(world.submission(rounds=1, deadline_ms=500))
        submitting = asyncio.create_task(sojourn("submit", str(tmp_path / "one.submission"), "--follow"))
        async with asyncio.timeout(30):
            hand = world.hands[0]
            await hand.offer(coordinator, hand.prepare(coordinator, await hand.take(links)))
            code, out, _ = await submitting
        assert code == 3
        # the one answer does not make a quorum; what was released in it is shown all the same
        assert "train, round 0: 1 of 3 agents answered, quorum 2 missed" in out
        rows = [line.split() for line in out.splitlines()]
        head = next(row for row in rows if "state" in row)
        answered = next(row for row in rows if "agent-0" in row)
        assert "patients" in head
        assert len([word for word in answered if word.replace(".", "").isdecimal()]) == len(head) - len(
            [word for word in head if word in {"agent", "state", "why", "┃"}]
        )


async def test_who_cancels_by_default(world, tmp_path: Path) -> None:
    async with operating(world, tmp_path) as (coordinator, sojourn):
        for user, by in (("root", "the operator"), ("carol", "carol")):
            sojourn.env["LOGNAME"] = user
            job = (await coordinator.submit(world.submission(nonce=user.ljust(16).encode()))).hex()
            assert (await sojourn("cancel", job))[0] == 0
            assert json.loads((await sojourn("job", job, "--json"))[1])["cancelled_by"] == by
