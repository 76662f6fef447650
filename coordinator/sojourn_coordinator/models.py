"""Models of one job: named by the root of their stream, kept in the object log, and the newest ones in memory.

A model's bytes are its tensors packed without any further fact, so they depend on base, updates and scale alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

import numpy.typing as npt
from sojourn.codec import decode
from sojourn.datoms import BlockKind, Seal, pack, unpack
from sojourn.errors import StoreError
from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from sojourn_coordinator.house import House
from sojourn_coordinator.store import pack_extents, unpack_extents
from sojourn_coordinator.store.schema import models

__all__ = ["ModelShelf"]

_MODEL: Final = insert(models).on_conflict_do_nothing()
_KEPT: Final = 2  # models in memory: the base of a round and what was made of it

Tensors = dict[str, npt.NDArray[Any]]


class ModelShelf:
    """Models of one job.

    Args:
        house: shared resources.
        job: id of the job.
    """

    def __init__(self, house: House, job: bytes) -> None:
        self._house = house
        self._job = job
        self._tensors: OrderedDict[bytes, Tensors] = OrderedDict()
        self._extents: dict[bytes, tuple[int, ...]] = {}

    def put(self, tensors: Tensors) -> bytes:
        """Append a model to the log; returns its root. `commit` makes it known after a sync."""
        positions: list[int] = []
        last = b""
        for datom in pack(tensors, BlockKind.WEIGHT):
            positions.append(self._house.objects.append(datom))
            last = datom
        root = decode(Seal, last).root
        self._extents[root] = tuple(positions)
        self._keep(root, tensors)
        return root

    def commit(self, connection: Connection, root: bytes) -> None:
        """Name a model that was put, inside the caller's transaction. A round that changed nothing gives it again."""
        connection.execute(_MODEL, {"job": self._job, "root": root, "extents": pack_extents(self._extents[root])})

    async def has(self, root: bytes) -> bool:
        """Whether there is such a model."""
        return root in self._extents or await self._load_extents(root)

    async def tensors(self, root: bytes) -> Tensors:
        """The model's tensors; do not write to them.

        Raises:
            StoreError: there is no such model.
            DecodeError: its stream is damaged.
        """
        found = self._tensors.get(root)
        if found is None:
            found = unpack(await self.datoms(root), root=root)
            self._keep(root, found)
        return found

    async def datoms(self, root: bytes) -> Iterator[bytes]:
        """The model's datoms, in order, as they are read from the log.

        Raises:
            StoreError: there is no such model.
        """
        if not await self.has(root):
            raise StoreError(f"there is no model {root.hex()[:16]} of job {self._job.hex()[:16]}")
        return map(self._house.objects.read, self._extents[root])

    async def _load_extents(self, root: bytes) -> bool:
        query = select(models.c.extents).where(models.c.job == self._job, models.c.root == root)

        def work(connection: Connection) -> bytes | None:
            return (connection.execute(query)).scalar()

        extents = await self._house.database.read(work)
        if extents is None:
            return False
        self._extents[root] = unpack_extents(extents)
        return True

    def _keep(self, root: bytes, tensors: Tensors) -> None:
        self._tensors[root] = tensors
        self._tensors.move_to_end(root)
        while len(self._tensors) > _KEPT:
            self._tensors.popitem(last=False)
