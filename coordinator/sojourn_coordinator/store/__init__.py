"""Durable state: the database, the log of bodies, and how a row names the records of a body.

The commit rule (DESIGN.md section 8): bytes go to the log and are synced first; one database transaction then commits
everything that names them; a peer is told only after that. Records that no row names are garbage.
"""

from sojourn_coordinator.store.database import Database
from sojourn_coordinator.store.extents import join_keys, pack_extents, split_keys, unpack_extents
from sojourn_coordinator.store.objects import ObjectLog, ObjectWriter, StoredBody

__all__ = [
    "Database",
    "ObjectLog",
    "ObjectWriter",
    "StoredBody",
    "join_keys",
    "pack_extents",
    "split_keys",
    "unpack_extents",
]
