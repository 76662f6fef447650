"""One federation of real processes for the whole folder: sample 01's job with three hospitals and three rounds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sojourn.crypto.identity import read_root_public
from sojourn.datoms import split_datoms, to_safetensors, unpack
from sojourn.testing.federation import REGISTRAR, Federation
from sojourn.testing.fleet import Fleet

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "samples" / "01_hospitals"))

from hospitals import data, job, settings

ROUNDS = 3
SEED = 0
CHOSEN = (1, 2, 4)  # the hospitals with 86, 42 and 34 patients


@dataclass(frozen=True)
class Ended:
    """A job that ended, and what an operator can fetch of it."""

    row: dict[str, Any]
    tensors: dict[str, np.ndarray]
    folder: Path

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def model(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def export(self) -> Path:
        return self.folder / "provenance.zip"


class Hospitals:
    """The running federation, and how to run a job on it."""

    def __init__(self, federation: Federation, study: data.Study, work: Path) -> None:
        self.federation, self.study, self._work = federation, study, work
        self.names = [hospital.name for hospital in study.hospitals]

    def submission(self) -> bytes:
        """The sample's job, signed now."""
        return job.build_submission(self.federation.author, SEED, rounds=ROUNDS, hospitals=len(CHOSEN))[0]

    def submit(self) -> str:
        with self.federation.operator() as api:
            return api.submit(self.submission())

    def finish(self, identity: str) -> Ended:
        """Follow a job to its end, and fetch what it made."""
        with self.federation.operator() as api:
            last = list(api.follow(identity))[-1]
            self.federation.fleet.check()
            assert last.name == "done", last
            folder = self._work / identity[:12]
            folder.mkdir()
            body, root = api.model(identity)
            tensors = unpack(split_datoms(body), root=bytes.fromhex(root))
            ended = Ended(api.job(identity), tensors, folder)
            ended.model.write_bytes(to_safetensors(tensors, {"sojourn.root": root}))
            api.export(identity, ended.export)
        return ended

    def counted(self, agent: str, identity: str) -> dict[str, int]:
        """What an agent's restarts resumed and recomputed in the orders of one job."""
        orders = [order for order in self.federation.status(agent)["orders"] if order["job"] == identity]
        assert orders
        return {
            key: sum(order[key] for order in orders) for key in ("effects", "effects_resumed", "effects_recomputed")
        }


@pytest.fixture(scope="package")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    work = tmp_path_factory.mktemp("federation")
    whole = data.load(SEED)
    study = replace(whole, hospitals=tuple(whole.hospitals[k] for k in CHOSEN))
    with Fleet() as fleet:
        federation = Federation(work, fleet)
        federation.found()
        author = federation.author.key.hex()
        _, info = job.build_submission(federation.author, SEED, rounds=ROUNDS, hospitals=len(CHOSEN))

        def enrol(hospital: data.Patients) -> None:
            rows = {settings.STREAM: {"x": hospital.x, "y": hospital.y}}
            policy = job.policy_toml(author, info.plan_digest.hex(), hospital.name)
            federation.enrol(hospital.name, policy, rows)

        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(enrol, study.hospitals))
        fleet.stop(REGISTRAR)
        federation.start()
        yield Hospitals(federation, study, work)


@pytest.fixture(scope="package")
def undisturbed(hospitals: Hospitals) -> Ended:
    """The job with nothing in its way."""
    return hospitals.finish(hospitals.submit())


@pytest.fixture(scope="package")
def root_key(hospitals: Hospitals) -> bytes:
    return read_root_public(hospitals.federation.trust / "root.pub")
