"""Records what an agent sends: every plaintext before it is sealed, every wire message before TLS.

Rules:

* The taps lie as low as can be: the one AEAD that every envelope and body is sealed with, and the websocket's `send`.
  Code that found another way to the network would have to bring a socket of its own.
* In one process the coordinator seals, too; the agent's work is told apart by its worker threads.
* `messages` decodes everything, and fails where something is not understood: what is not decoded is not judged.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from security_detector import Array, Message
from sojourn.codec import Kind, decode, digest, header_of
from sojourn.contracts import Answer, AnswerPacket, Signed
from sojourn.crypto.suite import SealChunk
from sojourn.datoms import split_datoms, unpack
from sojourn.limits import MAX_FRAME_BYTES
from sojourn.wire import Data, Offer, decode_message
from sojourn.wire import Message as WireMessage
from websockets.asyncio.client import ClientConnection

WORKER = "sojourn-run"

Models = Mapping[int, Mapping[str, Array]]


@dataclass
class Tap:
    """What was recorded.

    Attributes:
        frames: wire messages in the order in which they were sent.
        sealed: plaintexts of everything that the agent sealed.
    """

    frames: list[bytes] = field(default_factory=list)
    sealed: list[bytearray] = field(default_factory=list)
    _sealers: list[SealChunk] = field(default_factory=list)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Tap until the patch is undone."""
        send, seal = ClientConnection.send, SealChunk.seal

        async def tapped_send(connection: ClientConnection, message, *args, **kwargs):
            assert isinstance(message, bytes | bytearray | memoryview), "an agent sends nothing but binary messages"
            self.frames.append(bytes(message))
            await send(connection, message, *args, **kwargs)

        def tapped_seal(sealer: SealChunk, plain, *, last: bool) -> bytes:
            if threading.current_thread().name.startswith(WORKER):
                self._take(sealer, bytes(plain))
            return seal(sealer, plain, last=last)

        patch.setattr(ClientConnection, "send", tapped_send)
        patch.setattr(SealChunk, "seal", tapped_seal)

    def _take(self, sealer: SealChunk, plain: bytes) -> None:
        for position, known in enumerate(self._sealers):
            if known is sealer:
                self.sealed[position] += plain
                return
        self._sealers.append(sealer)
        self.sealed.append(bytearray(plain))

    # Decoding

    def wire(self) -> list[WireMessage]:
        """The wire messages, decoded."""
        return [decode_message(frame) for frame in self.frames]

    def packets(self) -> list[tuple[bytes, AnswerPacket, Answer]]:
        """The answers that were sealed: exact bytes, packet, statement."""
        found = []
        for plain in map(bytes, self.sealed):
            if header_of_or_none(plain) == Kind.ANSWER_PACKET:
                packet = decode(AnswerPacket, plain)
                found.append((plain, packet, decode(Answer, decode(Signed, packet.answer).payload)))
        return found

    def bodies(self) -> dict[bytes, bytes]:
        """The bodies that were sealed, by the SHA-256 of their plain bytes."""
        plain = [bytes(one) for one in self.sealed if header_of_or_none(bytes(one)) != Kind.ANSWER_PACKET]
        return {digest(one): one for one in plain}

    def messages(self, bases: Models) -> Iterator[Message]:
        """Everything, as the detector takes it.

        Args:
            bases: by round, the public model that the round's updates were made on.
        """
        for number, frame in enumerate(self.frames):
            assert len(frame) <= MAX_FRAME_BYTES
            yield Message(f"frame {number}, {type(decode_message(frame)).__name__}", frame)
        streamed = b"".join(bytes(m.payload) for m in self.wire() if isinstance(m, Data))
        yield Message("all data frames", streamed)
        numbers: list[float] = []
        for plain, packet, answer in self.packets():
            scalars = tuple(released.value for released in answer.releases if released.value is not None)
            numbers += scalars
            yield Message(f"answer of round {answer.round}", plain, {}, scalars)
            if packet.body is not None:
                body = self.bodies()[packet.body.digest]
                yield Message(f"update of round {answer.round}", body, _readings(body, answer, bases[answer.round]))
        yield Message("released numbers of all rounds", np.array(numbers).tobytes(), {}, tuple(numbers))

    def check_complete(self) -> None:
        """What went out as an answer is what was tapped: each offer has its packet, each reference its body."""
        offers = {message.order: message for message in self.wire() if isinstance(message, Offer)}
        packets = self.packets()
        assert sorted(answer.order for _, _, answer in packets) == sorted(offers)
        references = [packet.body for _, packet, _ in packets if packet.body is not None]
        assert sorted(ref.digest for ref in references) == sorted(self.bodies())
        assert {ref.id for ref in references} == {offer.body for offer in offers.values()} - {b""}
        assert len(self.sealed) == len(packets) + len(references)


def header_of_or_none(data: bytes) -> int | None:
    return header_of(data)[0] if data[:2] == b"SJ" else None


def _readings(body: bytes, answer: Answer, base: Mapping[str, Array]) -> dict[str, Array]:
    """The update as integers, as the released change of the model, and as the model that it leads to."""
    released = next(one for one in answer.releases if one.kind == "update")
    blocks = unpack(split_datoms(body), root=released.root)
    weight = int(blocks.pop("#weight")[0])
    readings: dict[str, Array] = {}
    for name, block in blocks.items():
        change = block * float(released.parameters["scale"]) / max(weight, 1)
        readings |= {f"{name} (blocks)": block, f"{name} (change)": change, f"{name} (model)": base[name] + change}
    return readings
