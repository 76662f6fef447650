"""A tensor that is used as a number: each message says how to get the number."""

from __future__ import annotations

import pytest
from sojourn.labels import PUBLIC
from sojourn.vm import Failed, Handle, Machine, compile_source, verify

HELP = "; tensor.item(handle) gives the number in a tensor of one element"


def failure(line: str, kind: str) -> str:
    source = f"from sojourn.program import continuation\n\n\n@continuation\ndef clinic(h):\n    return {line}\n"
    program = verify(compile_source(source, "clinic.py").encode())
    machine = Machine.start(program, "clinic", [Handle(kind, bytes(32), PUBLIC)], bytes(32), 100_000, 1_000_000)
    ended = machine.run(100_000)
    assert isinstance(ended, Failed)
    return ended.detail


@pytest.mark.parametrize(
    "line",
    ["h + 1", "2 * h", "-h", "h > 3", "3 <= h", "sum([h])", "max(1, h)", "round(h)", "abs(h)", "range(h)", "len(h)",
     "h[0]", "int(h)", "float(h)", "[1, 2][h]", "'a' * h", "h.shape", "f'{h}'", "[x for x in h]"],
)  # fmt: skip
def test_a_tensor_is_no_number(line: str) -> None:
    assert failure(line, "tensor").startswith("TypeError: ")
    assert failure(line, "tensor").endswith(HELP)
    assert HELP not in failure(line, "model")
