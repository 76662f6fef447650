"""Programs that the compiler does not write: out of range, or right and only never needed by it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sojourn.errors import ProgramInvalid
from sojourn.vm import Done, Machine, Program, verify
from sojourn.vm.disassembler import disassemble
from sojourn.vm.op import EXCEPTIONS, UNARY, Op, pack
from sojourn.vm.program import Function, TupleConstant
from sojourn.vm.shape import Shape
from sojourn.vm.sites import effect_sites

RETURN = (pack(Op.CONST, 0), pack(Op.RETURN))
RUN = bytes(range(32))


def program(*code: int, changes: dict[str, Any] | None = None, **fields: Any) -> Program:
    """One function of the code, in a program with a few constants, names and shapes."""
    function = msgspec.structs.replace(
        Function("main", 0, 0, 0, (), (), ("a", "b"), (), (), (), (), code, (1,) * len(code)), **fields
    )
    shapes = (Shape(1, ()), Shape(2, ("fuel", "memory")))
    base = Program(1, (0,), (function,), (None, 5), ("log.note",), shapes)
    return msgspec.structs.replace(base, **(changes or {}))


MAIN = program(*RETURN).functions[0]
REFUSED = {
    "too many instructions": (program(*[pack(Op.CONST, 0)] * 200_000, *RETURN), "more than 200000 instructions"),
    "too many constants": (program(*RETURN, changes={"constants": (None,) * 65_537}), "more than 65536 constants"),
    "a local without a name": (program(*RETURN, locals=("a", "")), "the name of a local is empty"),
    "a default too few": (
        program(*RETURN, changes={"functions": (MAIN, msgspec.structs.replace(MAIN, name="f", keyword_only=1))}),
        "not one for each parameter",
    ),
    "an exception of the host's": (
        program(pack(Op.EXCEPTION, EXCEPTIONS.index("Cancelled")), pack(Op.RETURN)),
        "a program does not raise Cancelled",
    ),
    "a default that nothing computes": (
        program(pack(Op.CONST, 0), pack(Op.CLOSURE, 0, 1), pack(Op.RETURN)),
        "not as many values as the function has computed defaults",
    ),
    "a fork of something": (
        program(*[pack(Op.CONST, 0)] * 4, pack(Op.FORK, 0, 1), pack(Op.RETURN)),
        "fork() takes fuel= and memory= only",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    forged, message = REFUSED[name]
    with pytest.raises(ProgramInvalid) as problem:
        verify(forged.encode())
    assert message in str(problem.value)


def test_a_rotation_by_nothing() -> None:
    verified = verify(program(pack(Op.CONST, 1), pack(Op.ROT, 0), pack(Op.RETURN)).encode())
    assert Machine.start(verified, "main", [], RUN, 100, 1000).run(100) == Done(5)


def test_a_minus_that_was_not_folded() -> None:
    code = (pack(Op.CONST, 1), pack(Op.UNARY, UNARY.index("-")), pack(Op.EFFECT, 0, 0), pack(Op.RETURN))
    (site,) = effect_sites(verify(program(*code).encode()), "main")
    assert dict(site.constants) == {"text": -5}


def test_a_tuple_constant_is_not_shown_as_a_scalar() -> None:
    """`disassemble` takes programs that nothing has verified."""
    with pytest.raises(ProgramInvalid, match="a tuple constant is no scalar"):
        disassemble(program(*RETURN, changes={"constants": (TupleConstant(()),)}))
