"""Making the next model, and publishing it.

A publication is signed and chains one model to the one before and to the closure that it was folded from. Its row, its
ledger entry, the model's extents and the snapshot commit together, after the model's bytes were synced.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sojourn.codec import digest
from sojourn.contracts import SUITE_1, Publication, Scalar
from sojourn.errors import UsageError
from sqlalchemy import Connection, select

from sojourn_coordinator.batch import Batch
from sojourn_coordinator.desk import PhaseDesk
from sojourn_coordinator.feed import append_event
from sojourn_coordinator.house import House
from sojourn_coordinator.jobs import JobContext
from sojourn_coordinator.ledger import append_entry
from sojourn_coordinator.models import ModelShelf
from sojourn_coordinator.reports import phase_summary
from sojourn_coordinator.store.schema import operations, publications

__all__ = ["Published", "Publisher"]


@dataclass(frozen=True, slots=True)
class Published:
    """A publication that is in the batch.

    Attributes:
        operation: of the `model.publish`.
        round: number of the round.
        model: root.
        summary: row of the round table.
    """

    operation: int
    round: int
    model: bytes
    summary: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Origin:
    """What a model was folded from."""

    phase: bytes
    base: bytes
    weight: int
    policy: dict[str, Scalar]


class Publisher:
    """Aggregates and publishes for one job.

    Args:
        house: shared resources.
        context: the job.
        shelf: its models.
        batch: collects what is to be committed.
        desk_of: finds a phase of the job by its identity.
    """

    def __init__(
        self,
        house: House,
        context: JobContext,
        shelf: ModelShelf,
        batch: Batch,
        desk_of: Callable[[bytes], Awaitable[PhaseDesk]],
    ) -> None:
        self._house = house
        self._context = context
        self._shelf = shelf
        self._batch = batch
        self._desk_of = desk_of
        self._origins: dict[bytes, _Origin] = {}
        self.on_published: Callable[[Published], None] = lambda _: None

    async def aggregate(
        self, desk: PhaseDesk, chosen: Mapping[str, Scalar], base: bytes
    ) -> tuple[bytes, dict[str, Any]]:
        """Fold a closed phase's answers onto `base`.

        Returns:
            The root of the model, and what it was made of.

        Raises:
            UsageError: there is no such policy, or the answers hold no update that fits.
        """
        if not await self._shelf.has(base):
            raise UsageError("the base is not a model of this job")
        folded = await desk.fold(self._shelf, chosen, base, self._context.shapes)
        root = self._shelf.put(folded.tensors)
        self._origins[root] = _Origin(desk.facts.id, base, folded.weight, dict(chosen))

        def work(connection: Connection) -> None:
            self._shelf.commit(connection, root)

        self._batch.add(work)
        detail = {"phase": desk.facts.id.hex(), "base": base.hex(), "weight": folded.weight, "policy": dict(chosen)}
        return root, detail

    async def publish(self, operation: int, model: bytes, round_: int) -> bytes:
        """Put the publication of a model into the batch, which is then due. Returns the model's root.

        Raises:
            UsageError: there is no such model.
        """
        if not await self._shelf.has(model):
            raise UsageError("model.publish() takes what updates.aggregate() gave, or a model that was published")
        origin = self._origins.get(model) or await self._stored_origin(model)
        now, job = self._house.now(), self._context.id
        closure, summary = b"", {"round": round_, "participants": 0, "invited": 0, "bytes": 0, "seconds": 0.0}
        if origin is not None:
            desk = await self._desk_of(origin.phase)
            closure, summary = digest(desk.closure), phase_summary(desk, round_, now)
        publication = Publication(
            suite=SUITE_1,
            job=job,
            run=self._context.run,
            operation=operation,
            round=round_,
            base=model if origin is None else origin.base,
            model=model,
            closure=closure,
            policy={} if origin is None else origin.policy,
            weight=0 if origin is None else origin.weight,
        )
        signed = self._house.identity.sign(publication)
        published = Published(operation, round_, model, summary)
        self._batch.add(
            self._work(published, signed, b"" if origin is None else origin.phase, now),
            lambda: self.on_published(published),
            due=True,
        )
        return model

    def _work(self, published: Published, signed: bytes, phase: bytes, now: int) -> Callable[[Connection], None]:
        job, evaluates = self._context.id, self._context.evaluates
        text = json.dumps(published.summary, sort_keys=True)

        def work(connection: Connection) -> None:
            connection.execute(
                publications.insert(),
                {
                    "job": job, "operation": published.operation, "round": published.round, "phase": phase,
                    "model": published.model, "signed": signed, "summary": text,
                },
            )  # fmt: skip
            detail: dict[str, Scalar] = {"round": published.round, "model": published.model.hex()}
            append_entry(connection, job, now, "published", subject=digest(signed), detail=detail)
            if not evaluates:  # else the event comes with the metrics
                append_event(connection, job, "published", {**published.summary, "model": published.model.hex()})

        return work

    async def _stored_origin(self, model: bytes) -> _Origin | None:
        query = select(operations.c.detail).where(
            operations.c.run == self._context.run,
            operations.c.effect == "updates.aggregate",
            operations.c.subject == model,
        )

        def work(connection: Connection) -> str | None:
            return (connection.execute(query.order_by(operations.c.operation.desc()).limit(1))).scalar()

        text = await self._house.database.read(work)
        if text is None:
            return None
        detail = json.loads(text)
        return _Origin(
            bytes.fromhex(detail["phase"]), bytes.fromhex(detail["base"]), detail["weight"], detail["policy"]
        )
