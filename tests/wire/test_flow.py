"""Credits: a sender and a receiver that follow the rules never meet a violation, and never stop for good."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sojourn.errors import WireViolation
from sojourn.limits import INITIAL_CREDIT_BYTES
from sojourn.wire.flow import GRANT_BYTES, ReceiveWindow, SendWindow


def test_a_sender_stops_at_its_credit_and_a_grant_has_a_ceiling():
    window = SendWindow()
    window.take(INITIAL_CREDIT_BYTES)
    with pytest.raises(WireViolation) as caught:
        window.take(1)
    assert caught.value.reason == "credit"
    window.grant(10)
    window.take(10)
    window.grant(INITIAL_CREDIT_BYTES)
    with pytest.raises(WireViolation):
        window.grant(1)


def test_a_receiver_refuses_an_overrun():
    window = ReceiveWindow()
    window.receive(INITIAL_CREDIT_BYTES)
    with pytest.raises(WireViolation) as caught:
        window.receive(1)
    assert caught.value.reason == "credit"


def test_what_the_rest_of_a_body_needs_no_more_is_not_granted():
    window = ReceiveWindow()
    window.receive(GRANT_BYTES)
    assert window.consume(GRANT_BYTES, remaining=INITIAL_CREDIT_BYTES - GRANT_BYTES) == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(1, GRANT_BYTES * 2)), max_size=200))
def test_windows_agree_and_never_starve(steps):
    length = 1 << 40
    sender, receiver, unread, sent = SendWindow(), ReceiveWindow(), 0, 0
    for send, most in steps:
        if send:
            size = min(most, sender.credit)
            sender.take(size)
            receiver.receive(size)
            unread, sent = unread + size, sent + size
        else:
            size = min(most, unread)
            unread -= size
            grant = receiver.consume(size, length - sent)
            if grant:
                sender.grant(grant)
        assert unread <= INITIAL_CREDIT_BYTES
        assert sender.credit == receiver.open
        assert unread + receiver.consumed + sender.credit == INITIAL_CREDIT_BYTES
        assert unread or sender.credit > INITIAL_CREDIT_BYTES - GRANT_BYTES
