"""The register of kinds: one number for each thing that is stored or sent. Numbers are part of the format."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Kind"]


class Kind(IntEnum):
    """What a framed object is. Never renumber; add at the end of a group."""

    # machine
    PROGRAM = 0x0101
    SNAPSHOT = 0x0102
    VALUE = 0x0103
    # datoms
    MANIFEST = 0x0201
    BLOCK = 0x0202
    SEAL = 0x0203
    ROWS = 0x0204
    # documents
    SIGNED = 0x0301
    ENTRY = 0x0302
    ROSTER = 0x0303
    JOB = 0x0304
    PLAN = 0x0305
    ORDER = 0x0306
    ANSWER = 0x0307
    PUBLICATION = 0x0308
    EVALUATION = 0x0309
    BUNDLE = 0x030A
    ANSWER_PACKET = 0x030B
    DATASET = 0x030C
    CLOSURE = 0x030D
    ORDER_PACKET = 0x030E
    LEDGER_HEAD = 0x030F
    # protection
    ENVELOPE = 0x0401
    ENROLMENT_TOKEN = 0x0402
    ENROLMENT_REQUEST = 0x0403
    ENROLMENT_REPLY = 0x0404
    KEYSTORE = 0x0405
    ENVELOPE_HEADER = 0x0406
    SEALED_BODY = 0x0407
    ROOT_KEYSTORE = 0x0408
    AUTHORITY_KEYSTORE = 0x0409
    ENROLMENT_PROOF = 0x040A
    # wire: one number for each message, in wire/messages.py
    WIRE = 0x0500
    # stores
    STREAM_META = 0x0601
    JOURNAL = 0x0602
    LEDGER = 0x0603
    STREAM_DESCRIPTOR = 0x0604
    TABLE = 0x0605
    LOG_SEGMENT = 0x0606
    LOG_MARK = 0x0607
