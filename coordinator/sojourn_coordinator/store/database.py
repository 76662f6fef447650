"""The coordinator's database: SQLite, write-ahead log, full sync, one writer, group commit.

Rules:

* `write` returns only after the transaction that holds its work is on the disk. Works that wait for the writer at
  the same moment share one commit; each is a savepoint of its own, so that one that raises leaves no trace.
* A started write ends even when its caller is cancelled: a transaction is never left half-way on the connection.
* Reads see committed states only and never wait for the writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from sojourn.errors import StateVersion, StoreError
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction, create_async_engine

from sojourn_coordinator.store.schema import SCHEMA_VERSION, meta, metadata

__all__ = ["Database"]

T = TypeVar("T")

_GROUP: Final = 64  # works of one commit


@dataclass(slots=True)
class _Group:
    transaction: AsyncTransaction
    committed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    works: int = 0


class Database:
    """Open with `Database.open`; close with `close`."""

    def __init__(self, engine: AsyncEngine, writer: AsyncConnection) -> None:
        self._engine = engine
        self._writer = writer
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._group: _Group | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open or create the database file.

        Raises:
            StateVersion: another version of this program wrote it.
            StoreError: it cannot be opened.
        """
        engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(path)))
        event.listen(engine.sync_engine, "connect", _configure)
        event.listen(engine.sync_engine, "begin", _begin)
        try:
            writer = await engine.connect()
            await writer.execution_options(sojourn_writer=True)
            async with writer.begin():
                await writer.run_sync(metadata.create_all)
                stated = (await writer.execute(meta.select().where(meta.c.name == "schema"))).first()
                if stated is None:
                    await writer.execute(meta.insert().values(name="schema", value=SCHEMA_VERSION))
        except SQLAlchemyError as problem:
            await engine.dispose()
            raise StoreError(f"cannot open {path}: {problem}; restore the state folder from a backup") from problem
        if stated is not None and stated.value != SCHEMA_VERSION:
            await writer.close()
            await engine.dispose()
            raise StateVersion(f"{path} has schema {stated.value}, this program reads {SCHEMA_VERSION}; upgrade it")
        return cls(engine, writer)

    async def close(self) -> None:
        """Wait for writes that have begun, then close."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._writer.close()
        await self._engine.dispose()

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in a read transaction."""
        async with self._engine.connect() as connection:
            return await work(connection)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in a transaction and return its result once that is durable.

        Args:
            work: issues statements on the connection it gets; awaits nothing else.

        Raises:
            StoreError: the commit failed; nothing of it is visible.
        """
        task = asyncio.create_task(self._write(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        self._waiting += 1
        async with self._lock:
            self._waiting -= 1
            try:
                group, result = await self._within_group(work)
            finally:
                open_group = self._group
                if open_group is not None and (self._waiting == 0 or open_group.works >= _GROUP):
                    self._group = None
                    await _commit(open_group)
        await group.committed
        return result

    async def _within_group(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> tuple[_Group, T]:
        """Run one work in the open transaction. The first of a group needs no savepoint: it is rolled back alone."""
        group = self._group
        first = group is None
        try:
            if group is None:
                group = self._group = _Group(await self._writer.begin())
                result = await work(self._writer)
            else:
                async with self._writer.begin_nested():
                    result = await work(self._writer)
        except SQLAlchemyError as problem:
            await self._drop(first)
            raise StoreError(f"the database refused a write: {problem}; check disk space and permissions") from problem
        except BaseException:
            await self._drop(first)
            raise
        group.works += 1
        return group, result

    async def _drop(self, first: bool) -> None:
        group = self._group
        if first and group is not None:
            self._group = None
            await group.transaction.rollback()


async def _commit(group: _Group) -> None:
    try:
        await group.transaction.commit()
    except SQLAlchemyError as problem:
        group.committed.set_exception(StoreError(f"a commit failed: {problem}; free disk space and start again"))
        group.committed.exception()  # looked at, even where nobody waits any more
    else:
        group.committed.set_result(None)


def _configure(connection: Any, _record: object) -> None:
    # Transactions are begun by `_begin`, not by the driver (SQLAlchemy, "Serializable isolation / Savepoints").
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    writer = connection.get_execution_options().get("sojourn_writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")
