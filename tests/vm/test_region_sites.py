"""Where a program starts private regions, and what their budgets come from."""

from __future__ import annotations

import pytest
from sojourn.errors import ProgramInvalid
from sojourn.vm import compile_source, verify
from sojourn.vm.regions import Argument, RegionSite, region_sites

HEAD = "from sojourn.program import continuation, private, log\n\ndef f():\n    return 1\n\n"


def sites(body: str, entry: str = "main") -> list[RegionSite]:
    program = compile_source(HEAD + body, "program.py")
    return list(region_sites(verify(program.encode()), entry))


def limits(*lines: str) -> dict[str, object]:
    body = "".join(f"    {line}\n" for line in lines)
    (found,) = sites(f"@continuation\ndef main(order):\n{body}")
    return dict(found.limits)


def test_literals_and_where_they_stand():
    (found,) = sites("@continuation\ndef main(order):\n    private(f, fuel=5, memory=7)\n")
    assert (found.function, found.line, found.starts) == ("main", 8, "f")
    assert dict(found.limits) == {"fuel": 5, "memory": 7}


def test_items_of_the_arguments():
    fuel = Argument("fuel")
    assert limits("private(f, fuel=order.args['fuel'], memory=7)") == {"fuel": fuel, "memory": 7}
    assert limits("a = order.args", "n = a['fuel']", "private(f, memory=9, fuel=n)") == {"fuel": fuel, "memory": 9}
    assert limits("a = order.args", "log.note(str(a.get('x')))", "private(f, fuel=a['fuel'], memory=9)")["fuel"] == fuel
    assert limits("order.args", "order", "a = 3", "private(f, fuel=order.args['fuel'], memory=a)") == {
        "fuel": fuel, "memory": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    "lines",
    [
        ["a = order.args", "a['fuel'] = 3", "private(f, fuel=a['fuel'], memory=7)"],
        ["a = order.args", "a['fuel'] += 3", "private(f, fuel=a['fuel'], memory=7)"],
        ["a = order.args", "a.update({'fuel': 3})", "private(f, fuel=a['fuel'], memory=7)"],
        ["g = lambda x: 0", "g(order)", "private(f, fuel=order.args['fuel'], memory=7)"],
        ["g = lambda x: 0", "g(order.args)", "private(f, fuel=order.args['fuel'], memory=7)"],
        ["a = {'x': order.args}", "private(f, fuel=order.args['fuel'], memory=7)"],
        ["a = {}", "a[str(order.args)] = 1", "private(f, fuel=order.args['fuel'], memory=7)"],
        ["n = order.args['fuel']", "n = 3", "private(f, fuel=n, memory=7)"],
        ["for n in [1, 2]:", "    private(f, fuel=n, memory=7)"],
        ["order = 3", "private(f, fuel=order.args['fuel'], memory=7)"],
        ["private(f, fuel=order.args['fuel'] + 1, memory=7)"],
        ["private(f, fuel=order.args[order.round], memory=7)"],
        ["private(f, fuel=order.round['fuel'], memory=7)"],
        ["private(f, fuel=5 if order.round else 6, memory=7)"],
        ["a = order.args", "private(f, fuel=a.get(a), memory=7)"],
        ["private(f, fuel=order, memory=7)"],
        ["private(f, fuel=order.args, memory=7)"],
        ["g = lambda: order", "private(f, fuel=order.args['fuel'], memory=7)"],
    ],
)
def test_what_is_not_certain_is_left_out(lines):
    assert limits(*lines) == {"memory": 7}


def test_parameters_of_other_functions_are_unknown_and_their_literals_are_not():
    found = sites("""
def inner(order, n=3, *rest, k=4, **more):
    rest = 5
    more = 6
    k = 7
    private(f, fuel=n, memory=rest)
    private(f, fuel=k, memory=more)
    private(f, fuel=order.args['x'], memory=8)

@continuation
def main(order):
    inner(order)
    g = lambda: 1
    private(g, fuel=9, memory=order.args['m'])

@continuation
def other():
    private(f, fuel=1, memory=2)
""")
    assert [(site.function, site.starts, dict(site.limits)) for site in found] == [
        ("inner", "f", {}),
        ("inner", "f", {}),
        ("inner", "f", {"memory": 8}),
        ("main", "", {"fuel": 9}),
    ]
    assert [dict(site.limits) for site in sites("@continuation\ndef main():\n    private(f, fuel=1, memory=2)\n")] == [
        {"fuel": 1, "memory": 2}
    ]


def test_an_entry_that_is_not_there():
    with pytest.raises(ProgramInvalid, match="no entry"):
        sites("@continuation\ndef main(order):\n    pass\n", "gone")


CALL = "private(f, fuel=5, memory=7)"


@pytest.mark.parametrize(
    ("lines", "always"),
    [
        ([CALL], True),
        (["if order:", "    return 1", CALL], False),
        (["if order:", "    raise ValueError('x')", CALL], True),
        (["if order:", f"    {CALL}"], False),
        (["for _ in range(3):", f"    {CALL}"], False),
        (["while True:", f"    {CALL}", "    break"], False),  # a test is not looked into
        (["try:", "    log.note('x')", "except ValueError:", "    return 1", CALL], False),
        (["try:", "    log.note('x')", "except ValueError:", "    log.note('y')", CALL], True),
    ],
)
def test_whether_a_call_returns_without_it(lines: list[str], always: bool) -> None:
    body = "".join(f"    {line}\n" for line in lines)
    assert {site.always for site in sites(f"@continuation\ndef main(order):\n{body}")} == {always}
