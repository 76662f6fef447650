"""The public conformance suite over every transport, and over transports that break the contract on purpose."""

from itertools import count

import pytest
from sojourn.streams import Blocked, Cursor, Data, End, Full, LogSpec, LogStream, RingStream
from sojourn.testing.stream_conformance import CHECKS, StreamFactory, check_stream


@pytest.fixture(params=["ring", "ring-overwrite", "log", "log-small-segments"])
def factory(request, tmp_path):
    if request.param == "ring":
        yield StreamFactory(lambda: RingStream(8), bounded=True, release=RingStream.release)
        return
    if request.param == "ring-overwrite":
        yield StreamFactory(lambda: RingStream(8, overwrite=True), bounded=True)
        return
    spec = LogSpec(segment_bytes=4096) if "small" in request.param else None
    logs, numbers = {}, count()

    def make():
        path = tmp_path / str(next(numbers))
        log = LogStream.create(path, spec)
        logs[log.descriptor.stream] = path, log
        return log

    def reopen(log):
        path, _ = logs[log.descriptor.stream]
        log.close()
        again = LogStream.open(path)
        logs[log.descriptor.stream] = path, again
        return again

    yield StreamFactory(make, reopen=reopen)
    for _, log in logs.values():
        log.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_transport_conforms(check, factory):
    check(factory)


class SilentlySkipping(RingStream):
    """Overwrites, and moves a reader that was left behind forward without saying so."""

    def __init__(self):
        super().__init__(8, overwrite=True)

    def read(self, cursor, limit):
        outcome = super().read(cursor, limit)
        return outcome if not hasattr(outcome, "earliest") else super().read(outcome.earliest, limit)


class Destroying(RingStream):
    def __init__(self):
        super().__init__(8)

    def read(self, cursor, limit):
        outcome = super().read(cursor, limit)
        if isinstance(outcome, Data):
            self.release(outcome.next)
        return outcome


class EndlessReader(RingStream):
    def __init__(self):
        super().__init__(8)

    def read(self, cursor, limit):
        outcome = super().read(cursor, limit)
        return Blocked() if outcome == End() else outcome


class Lossy(RingStream):
    """Says yes to what it has no room for."""

    def __init__(self):
        super().__init__(8)

    def append(self, datom):
        outcome = super().append(datom)
        return super().append(datom) if outcome == Full() and self.release(Cursor(1)) is None else outcome


class Greedy(RingStream):
    def __init__(self):
        super().__init__(8)

    def read(self, cursor, limit):
        return super().read(cursor, limit + 1 if limit > 0 else limit)


@pytest.mark.parametrize("broken", [SilentlySkipping, Destroying, EndlessReader, Lossy, Greedy])
def test_suite_finds_a_broken_stream(broken):
    with pytest.raises(AssertionError):
        check_stream(StreamFactory(broken, bounded=True, release=RingStream.release))
