"""Evaluating the published models of one job, beside its rounds.

Rules:

* An evaluation is a signed statement and a ledger entry. It depends on a model and on the held-out data, so one that is
  missing after a crash is simply made again.
* The rounds do not wait for it; the job's end does. Evaluations are made one after the other, in order of publication.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from sojourn.codec import digest
from sojourn.contracts import SUITE_1, Evaluation
from sojourn.datoms import split_datoms, unpack
from sqlalchemy import Connection, select

from sojourn_coordinator.feed import append_event
from sojourn_coordinator.house import House
from sojourn_coordinator.jobs import JobContext, read_item
from sojourn_coordinator.ledger import append_entry
from sojourn_coordinator.models import ModelShelf, Tensors
from sojourn_coordinator.publishing import Published
from sojourn_coordinator.store.schema import evaluations, publications

__all__ = ["Evaluations"]


class Evaluations:
    """Evaluates what one job publishes."""

    def __init__(self, house: House, context: JobContext, shelf: ModelShelf) -> None:
        self._house = house
        self._context = context
        self._shelf = shelf
        self._queue: list[Published] = []
        self._task: asyncio.Task[None] | None = None
        self._heldout: Tensors | None = None
        self._graphs: dict[str, bytes] = {}

    async def recover(self) -> None:
        """Make what an earlier life published but did not evaluate."""
        job = self._context.id
        query = (
            select(publications)
            .join(
                evaluations,
                (evaluations.c.job == publications.c.job) & (evaluations.c.operation == publications.c.operation),
                isouter=True,
            )
            .where(publications.c.job == job, evaluations.c.job.is_(None))
            .order_by(publications.c.operation)
        )

        def work(connection: Connection) -> list[Published]:
            rows = connection.execute(query)
            return [Published(row.operation, row.round, row.model, json.loads(row.summary)) for row in rows]

        for published in await self._house.database.read(work):
            self.add(published)

    def add(self, published: Published) -> None:
        """Evaluate a committed publication soon."""
        if not self._context.evaluates:
            return
        self._queue.append(published)
        if self._task is None or self._task.done():
            before = self._task
            self._task = asyncio.create_task(self._work(before))

    async def wait(self) -> None:
        """Return once everything added is evaluated; raises what an evaluation raised."""
        while self._task is not None:
            task, self._task = self._task, None
            await task

    async def stop(self) -> None:
        """Drop what is not begun; it is made in the next life."""
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before  # it is done: raise what it raised
        while self._queue:
            await self._evaluate(self._queue.pop(0))

    async def _evaluate(self, published: Published) -> None:
        house, context = self._house, self._context
        heldout = await self._load()
        model = await self._shelf.tensors(published.model)
        metrics = await house.evaluator.evaluate(context.job.plan, context.plan, self._graphs, model, heldout)
        evaluation = Evaluation(
            suite=SUITE_1,
            job=context.id,
            run=context.run,
            round=published.round,
            model=published.model,
            heldout=context.job.heldout,
            metrics=metrics,
        )
        signed, now = house.identity.sign(evaluation), house.now()
        await house.database.write(lambda connection: self._commit(connection, published, signed, metrics, now))
        house.feed.wake(context.id)

    def _commit(
        self, connection: Connection, published: Published, signed: bytes, metrics: dict[str, float], now: int
    ) -> None:
        job = self._context.id
        connection.execute(
            evaluations.insert().values(
                job=job, operation=published.operation, round=published.round, signed=signed,
                loss=metrics.get("loss"), auc=metrics.get("auc"),
            )
        )  # fmt: skip
        detail: dict[str, Any] = {"round": published.round, **metrics}
        append_entry(connection, job, now, "evaluated", subject=digest(signed), detail=detail)
        event = {**published.summary, **metrics, "model": published.model.hex()}
        append_event(connection, job, "published", event)

    async def _load(self) -> Tensors:
        if self._heldout is None:
            job = self._context.id
            for graph in self._context.plan.graphs:
                self._graphs[graph.name] = await read_item(self._house, job, f"graph/{graph.name}")
            joined = await read_item(self._house, job, "heldout")
            self._heldout = unpack(split_datoms(joined), root=self._context.job.heldout)
        return self._heldout
