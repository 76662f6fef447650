"""Errors that ordinary programs seldom meet: what the language says, beside CPython where both mean the same."""

from __future__ import annotations

import ast
import sys
from typing import Any

import pytest
from sojourn.errors import MachineError, ProgramRefused
from sojourn.labels import PUBLIC
from sojourn.vm import Box, Done, Failed, Handle, Parked, RecordValue, compile_source, continuation
from sojourn.vm.values import SetValue, type_name

CHANGED = "d = {1: 2}; it = iter(d); d[2] = 3; "
SAME = {
    "round over the largest float": "return round(1.7976931348623157e308, -308)",
    "bytes of a walk that fails": CHANGED + "return bytes(it)",
    "dict of a pair whose walk fails": CHANGED + "return dict([it])",
    "divmod of too large an integer by nothing": "return divmod(10**400, 0.0)",
    "bits without an end": "return [int('1' * 5000, 2) == 2**5000 - 1, int('0x' + 'f' * 5000, 0) == 16**5000 - 1]",
    "few digits in long text": "return [int(b' ' * 5000 + b'1'), int('1_' * 2500 + '1') == int(b'1_' * 2500 + b'1')]",
    "no number in a long text": "return int('x' + '1' * 5000)",
    "no digit of its base in a long text": "return int('1' * 300 + '8' * 5000, 8)",
    "no number outside of ASCII": "return int('\xe9' * 300)",
    "slice from a walk that fails": CHANGED + "x = [1]; x[0:1] = it; return x",
    "slice of a dict deleted": "d = {}; del d[1:2]",
    "format of a character with a sign": "return f'{-1:+c}'",
    "format of a character that there is not": "return f'{0x110000:5c}'",
    "int with a base that is no integer": "return int('1', 1.5)",
    "int with a base out of range": "return int('1', 40)",
    "int with a base of one": "return int('1', 1)",
    "keywords for a set": "s = {1}; s.update(a=2)",
    "exception that holds itself": "x = []; e = ValueError(x); x.append(e); return [repr(e), str(x), str(e)]",
    "set updated with nothing": "s = {1, 2}; s.update(); return sorted(s)",
    "set updated with itself": "s = {1, 2}; s.update(s); return sorted(s)",
    "class of what is raised with arguments": "x = ValueError(1, [2]); return [repr(x), x.args]",
}


def on_cpython(body: str) -> Any:
    """The value, or the class and message of the exception."""
    names: dict[str, Any] = {}
    exec(f"def main():\n    {body}\n", names)  # the oracle
    tracer = sys.gettrace()
    sys.settrace(None)  # traced, as for coverage, it calls methods in another way and names them without their class
    try:
        return names["main"]()
    except Exception as error:  # noqa: BLE001 - whatever CPython raises is the answer
        return f"{type(error).__name__}: {error}"
    finally:
        sys.settrace(tracer)


def on_machine(kit: Any, body: str, params: str = "", *args: Any, **budgets: int) -> Any:
    end = kit.evaluate(f"@continuation\ndef main({params}):\n    {body}\n", *args, **budgets)
    return end.value if isinstance(end, Done) else end.detail


@pytest.mark.parametrize("name", SAME)
def test_as_cpython(kit: Any, name: str) -> None:
    assert on_machine(kit, SAME[name]) == on_cpython(SAME[name])


OWN = {
    "keyword that a builtin does not have": (
        "f = len; return f([1], of=2)",
        "TypeError: len() got an unexpected keyword argument 'of'",
    ),
    "argument by name and by position": (
        "return 'a b'.split(' ', sep=' ')",
        "TypeError: argument for split() given by name ('sep') and position",
    ),
    "keys of a dict exchanged in a loop": (
        "d = {1: 1, 2: 2}\n    for k in d:\n        del d[2]\n        d[3] = 1",
        "RuntimeError: dictionary keys changed during iteration",
    ),
    "digits without an end": (
        "return int('-' + '1' * 4301)",
        "ValueError: Exceeds the limit (4300 digits) for integer string conversion",
    ),
    "digits outside of Latin-1": (
        "return int('\u0661')",
        "ValueError: repr() of text beyond Latin-1 is not the same on every machine; use str()",
    ),
    "repr of text beyond Latin-1": (
        "return repr('\u0142')",
        "ValueError: repr() of text beyond Latin-1 is not the same on every machine; use str()",
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_own_words(kit: Any, name: str) -> None:
    body, message = OWN[name]
    assert on_machine(kit, body) == message


RECORD = {
    "items of a record": ("return [*r]", "TypeError"),
    "a record unpacked": ("a, *b = r", "TypeError"),
    "a field that it lacks": (
        "return r.weight",
        "AttributeError: 'order' object has no attribute 'weight'; it has weights, args",
    ),
}


@pytest.mark.parametrize("name", RECORD)
def test_records(kit: Any, name: str) -> None:
    body, message = RECORD[name]
    record = RecordValue("order", {"weights": Handle("state", b"w", PUBLIC), "args": {}})
    assert str(on_machine(kit, body, "r", record)).startswith(message)


def test_a_record_that_a_host_made_wrong(kit: Any) -> None:
    with pytest.raises(MachineError, match="a record's fields are not names"):
        kit.start("@continuation\ndef main(r):\n    return r\n", RecordValue("order", {"no name": 1}))


def test_a_tuple_in_a_box_is_opened_for_the_next_region(kit: Any) -> None:
    """Twice, and shared: it comes in once."""
    source = """
def first(seed):
    return (seed, [seed])

def second(x, y):
    x[1].append(seed_of(y))
    return y

def seed_of(pair):
    return pair[0]

@continuation
def main():
    box = private(first, 1, fuel=100, memory=1000)
    return private(second, box, box, fuel=100, memory=1000)
"""
    machine = kit.start(source)
    end = machine.run(10_000)
    assert isinstance(end, Done)
    assert machine.open(end.value) == (1, [1, 1])


def test_an_error_for_a_box_that_the_run_cannot_pay_for(kit: Any, host: Any) -> None:
    """`throw` on a boxed effect makes a box; where there is no memory for it the run ends, as with a result."""
    source = """
@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    return tensor.item(rows)
"""
    for memory in range(40_000, 400, -400):
        machine = kit.start(source, memory=memory)
        progress = machine.run(10_000)
        while isinstance(progress, Parked) and progress.effect.name == "stream.open":
            host.answer(machine, progress.effect)
            progress = machine.run(10_000)
        if not isinstance(progress, Parked):
            break
        machine.throw("ValueError", "no such tensor")
        end = machine.run(10_000)
        if isinstance(end, Failed):
            assert end.code == "memory"
            return
        assert isinstance(end, Done)
        assert isinstance(end.value, Box)
    pytest.fail("no budget was too small for the box")


def test_how_things_show_themselves_to_a_host() -> None:
    @continuation
    def main() -> None:
        """An entry."""

    assert repr(main) == "<continuation main>"
    assert repr(SetValue({})) == "set()"
    assert repr(SetValue({1: None, "a": None})) == "{1, 'a'}"
    assert type_name(Box(b"b" * 32, PUBLIC)) == "box"


def test_refused_by_name() -> None:
    with pytest.raises(ProgramRefused, match=r"the method split\(\) has no keyword 'by' here; it knows sep, maxsplit"):
        compile_source("@continuation\ndef main():\n    return 'a'.split(by='b')\n", "program.py")


def test_a_walk_that_waits_is_refused() -> None:
    """CPython takes it anywhere, as it makes an object of it that only waits later."""
    with pytest.raises(ProgramRefused, match="async for is not in this language; write a plain for"):
        compile_source("@continuation\ndef main():\n    return list(x async for x in [])\n", "program.py")


def test_a_parser_that_was_disturbed_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython gh-106905: what the collector does in the middle of parsing can spoil the parser's own count, once."""
    spoilt, parse = [True], ast.parse

    def parse_or_fail(source: str) -> ast.Module:
        if spoilt.pop():
            spoilt.append(False)
            raise SystemError("AST constructor recursion depth mismatch")
        spoilt.append(False)
        return parse(source)

    monkeypatch.setattr(ast, "parse", parse_or_fail)
    assert compile_source("@continuation\ndef main():\n    return 1\n", "program.py").functions[0].name == "main"
