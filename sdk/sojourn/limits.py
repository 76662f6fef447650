"""Every numeric bound of the system, named, with its unit. Decoders check these before they allocate.

Bounds that a policy may tighten are tightened there; nothing loosens them at run time.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# Documents, bytes.
MAX_DOCUMENT_BYTES: Final = 1 * MIB  # a signed job, plan, roster, order, answer
MAX_PROGRAM_BYTES: Final = 1 * MIB
MAX_SNAPSHOT_BYTES: Final = 72 * MIB  # any state within MAX_MEMORY_BYTES fits, so that storing one tells nothing
MAX_GRAPH_BYTES: Final = 256 * MIB
MAX_BUNDLE_BYTES: Final = 512 * MIB
MAX_BODY_BYTES: Final = 64 * 1024 * MIB
MAX_ENVELOPE_BYTES: Final = MAX_DOCUMENT_BYTES + 16 * KIB  # a sealed document; fits one frame
MAX_BUNDLE_GRAPHS: Final = 64  # of one plan

# Provenance exports, bytes.
MAX_EXPORT_DIRECTORY_BYTES: Final = 64 * MIB  # of the zip's central directory, some 400 000 items
MAX_LEDGER_BYTES: Final = 1024 * MIB  # of one job's ledger.jsonl

# Sealing, bytes of plaintext per AEAD chunk (DESIGN.md section 7).
SEAL_CHUNK_BYTES: Final = 256 * KIB
MAX_SEAL_CHUNK_BYTES: Final = 1 * MIB

# Blocks and tensors.
BLOCK_PAYLOAD_BYTES: Final = 1 * MIB  # target size of one block's payload
MAX_BLOCK_PAYLOAD_BYTES: Final = 16 * MIB
MAX_TENSORS: Final = 65_536
MAX_RANK: Final = 8
MAX_TENSOR_ELEMENTS: Final = 1 << 36
MAX_NAME_CHARS: Final = 256
MAX_MANIFEST_BYTES: Final = 16 * MIB
MAX_META_ENTRIES: Final = 64  # of one manifest
MAX_DATOM_BYTES: Final = MAX_BLOCK_PAYLOAD_BYTES + 64  # one encoded manifest, block or seal

# Log streams, bytes.
MAX_RECORD_BYTES: Final = 192 * MIB  # fits the largest snapshot, and where each of its handles is kept
SEGMENT_BYTES: Final = 256 * MIB

# Wire.
MAX_FRAME_BYTES: Final = 2 * MIB  # one websocket message
INITIAL_CREDIT_BYTES: Final = 8 * MIB  # per channel, before the receiver grants more
MAX_CHANNELS: Final = 64  # open transfers of one connection
MAX_HELD_ORDERS: Final = 4_096  # listed in one hello
MAX_UNANSWERED_ORDERS: Final = 64  # delivered on one connection, neither accepted nor declined yet
MAX_QUEUED_FRAMES: Final = 1_024  # waiting for a peer that does not read

# Machine.
MAX_FUEL: Final = 10**12  # instructions
MAX_MEMORY_BYTES: Final = 64 * MIB  # bytes of program values, by the machine's own table
MAX_INSTRUCTION_FUEL: Final = 1 << 20  # what one instruction may use: a host that slices never waits longer for one
MAX_FRAMES: Final = 1_000
MAX_RANGE_BITS: Final = 256  # of the start, stop and step of a range; the host keeps its length beside them
MAX_INSTRUCTIONS: Final = 200_000  # of one program
MAX_CONSTANTS: Final = 65_536
MAX_PROGRAM_MODULES: Final = 256  # of one program, beside its own file
MAX_MODULE_DEPTH: Final = 64  # of modules that import one another, in one chain

# Time, milliseconds.
MAX_CLOCK_SKEW_MS: Final = 5 * 60 * 1000
LEASE_MARGIN_MS: Final = 500  # a holder stops committing this long before its lease ends
MAX_ORDER_LIFETIME_MS: Final = 7 * 24 * 3600 * 1000
MAX_ENVELOPE_LIFETIME_MS: Final = 7 * 24 * 3600 * 1000

# Rounds.
MAX_PARTICIPANTS: Final = 100_000
MAX_PHASES: Final = 64  # of one job
MAX_RELEASES: Final = 256  # of one answer

# Journal of an agent's run: pure results are sealed once in this many pure effects (DESIGN.md section 4).
SEAL_CADENCE_EFFECTS: Final = 8

# Children of an order's run (task.spawn, task.join, task.cancel), in the order's whole life.
MAX_TASKS: Final = 256  # children, children of children among them
MAX_TASK_DEPTH: Final = 8  # a child of the order's run has depth 1
MAX_TASK_WAITS: Final = 256  # joins that wait with a deadline, and cancellations: each costs a sync
MAX_JOIN_SECONDS: Final = 7 * 24 * 3600  # a longer deadline is refused
TASK_TURN_FUEL: Final = 100_000  # public instructions after which the next run has its turn
TASK_REGION_TURNS: Final = 64  # of other runs, while a region waits for them to wait

# Restarts of one run before its agent gives it up: what kills its host each time would kill it for ever.
MAX_RUN_RESTARTS: Final = 64
