"""What the code shows without being run: keys of the job's arguments, fields of batches, boxes used as if open."""

from __future__ import annotations

import pytest
from sojourn.errors import ProgramInvalid
from sojourn.vm import VerifiedProgram, compile_source, verify
from sojourn.vm.arguments import ArgumentSite, argument_sites
from sojourn.vm.batches import FieldSite, field_sites
from sojourn.vm.sealed import BoxUse, PayloadSite, box_uses, payload_sites

HELP = """
def g(x, *y):
    return x

def fill(d, k):
    d[k] = 1

"""


def program(*lines: str, head: str = "@continuation\ndef main(order):\n", more: str = "") -> VerifiedProgram:
    body = "".join(f"    {line}\n" for line in lines)
    return verify(compile_source(more + HELP + head + body, "program.py").encode())


def keys(*lines: str, more: str = "") -> list[str]:
    return [site.key for site in argument_sites(program(*lines, more=more), "main")]


def test_arguments_and_where_they_stand() -> None:
    verified = program("a = order.args", "n = a['epochs']", "return [n, order.args['size'], a[n], a[3], order.round]")
    assert argument_sites(verified, "main") == (ArgumentSite("main", 11, "epochs"), ArgumentSite("main", 12, "size"))
    for of in (argument_sites, field_sites, box_uses, payload_sites):
        with pytest.raises(ProgramInvalid, match="the program has no entry 'other'"):
            of(verified, "other")


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["return order.args['n'] if 'n' in order.args else order.args['m']"], ["m"]),
        (["order.args['n'] = 3", "return [order.args['n'], order.args['m']]"], ["m"]),
        (["order.args[order.round] = 3", "return order.args['n']"], []),
        (["order.args[0] = 3", "return order.args['n']"], ["n"]),
        (["d = {}", "d[order.round] = 3", "return order.args['n']"], ["n"]),
        (["fill(order.args, 'n')", "return order.args['n']"], []),
        (["d = {}", "d.update(a=1)", "return order.args['n']"], ["n"]),
        (["d = {}", "d.update(a=1)", "g(order.args)", "return order.args['n']"], []),
        (["order.args.update(n=1)", "return order.args['n']"], []),
        (["order.args.pop('n')", "return order.args['n']"], []),
        (["a = order.args", "a |= {'n': 1}", "return order.args['n']"], []),
        (["a = order.args", "b = a", "b |= {'n': 1}", "return a['n']"], []),
        (["n = 1", "n |= 2", "return order.args['n']"], ["n"]),
        (["g(order.args)", "d = {}", "d |= {'n': 1}", "return order.args['n']"], []),
        (["del order.args['n']", "return order.args['m']"], []),
        (["order.args.get('x')", "return order.args['n']"], ["n"]),
        (["g(order.args)", "return order.args['n']"], ["n"]),
        (["try:", "    return order.args['n']", "except KeyError:", "    return order.args['m']"], ["m"]),
        (["a = order.args", "a = {}", "return a['n']"], []),
        (["order = g(order)", "return order.args['n']"], ["n"]),
    ],
)
def test_only_what_is_certain_of_arguments(lines: list[str], found: list[str]) -> None:
    assert keys(*lines) == found


READS = ("cursor = stream.first(rows)", "row, cursor = stream.batch(rows, cursor, 1)")


def fields(*lines: str, params: str = "rows") -> list[str]:
    body = "".join(f"    {line}\n" for line in lines)
    more = f"def f({params}):\n{body}\n"
    main = ("rows = stream.open('patients', fields=['x'])", "return private(f, rows, fuel=9, memory=9)")
    return [site.key for site in field_sites(program(*main, more=more), "main")]


def test_fields_and_where_they_stand() -> None:
    reads = "    cursor = stream.first(rows)\n    a, cursor = stream.batch(rows, cursor, 1)\n    return a['x']\n"
    main = ("rows = stream.open('patients', fields=['x'])", "return private(f, rows, fuel=9, memory=9)")
    assert field_sites(program(*main, more="def f(rows):\n" + reads), "main") == (FieldSite("f", 4, "x"),)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([*READS, "return [row['x'], row[0], row[cursor], row['x']['y'], rows['z']]"], ["x", "x"]),
        ([*READS, "return row['x'] if 'x' in row else row['y']"], ["y"]),
        ([*READS, "row['x'] = 1", "return row['x'] + row['y']"], ["y"]),
        ([*READS, "row[cursor] = 1", "return row['x']"], []),
        ([*READS, "d = {}", "d[cursor] = 1", "return row['x']"], ["x"]),
        ([*READS, "d = {}", "d.setdefault('a', 1)", "return row['x']"], []),
        ([*READS, "try:", "    return row['x']", "except KeyError:", "    return row['y']"], ["y"]),
        ([*READS, "row = {}", "return row['x']"], []),
        (["cursor = stream.first(rows)", "pair = stream.batch(rows, cursor, 1)", "return pair['x']"], []),
        (["cursor = stream.first(rows)", "row, cursor = g(cursor)", "return row['x']"], []),
        (["cursor = stream.first(rows)", "cursor, row = stream.batch(rows, cursor, 1)", "return row['x']"], []),
        (["row, n = [rows, 1]", "return row['x']"], []),
    ],
)
def test_only_what_is_certain_of_batches(lines: list[str], found: list[str]) -> None:
    assert fields(*lines) == found


def test_a_parameter_is_no_batch_before_it_is_given_one() -> None:
    lines = ("old = row['old']", *READS, "return row['x']")
    assert fields(*lines) == ["old", "x"]
    assert fields(*lines, params="rows, row=None") == []
    assert fields(*lines, params="rows, *, row=None") == []
    assert fields(*lines, params="rows, *row") == []
    assert fields(*lines, params="rows, **row") == []


REGION = "def f(rows):\n    if rows:\n        return {'n': 1, 'x': 2}\n    return {'n': 0}\n"


def words(*lines: str) -> list[str]:
    return [use.word for use in box_uses(program("box = private(f, 1, fuel=9, memory=9)", *lines, more=REGION), "main")]


def test_boxes_and_where_they_are_used() -> None:
    verified = program("box = private(f, 1, fuel=9, memory=9)", "if box:", "    return 1", more=REGION)
    assert box_uses(verified, "main") == (BoxUse("main", 15, "test"),)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["return box['n']"], ["index"]),
        (["return {}[box]"], []),
        (["return box[1:]"], ["slice"]),
        (["return box.n"], ["read an attribute of"]),
        (["return box == 1"], ["compare"]),
        (["return not box"], ["test"]),
        (["return box and 1"], ["test"]),
        (["while box:", "    pass"], ["test"]),
        (["return [box + 1, -box]"], ["compute with", "compute with"]),
        (["for x in box:", "    pass"], ["iterate over"]),
        (["return f'{box}'"], ["print"]),
        (
            ["return [len(box), int(box), float(box), str(box), bool(box)]"],
            ["measure", "convert", "convert", "print", "test"],
        ),
        (["return [list(box), max(box, 1)]"], []),
        (["return box.get('n')"], ["call .get() of"]),
        (["x = []", "x.append(box)", "return g(box)"], []),
        (["release.count(box, of='n', name='n', high=3)", "return box"], []),
        (["try:", "    box['n']", "except TypeError:", "    return 1"], []),
        (["box = {'n': 1}", "return box['n']"], []),
        (["other = box", "return other['n']"], ["index"]),
    ],
)
def test_only_what_is_certain_of_boxes(lines: list[str], found: list[str]) -> None:
    assert words(*lines) == found


def payloads(region: str, *lines: str) -> list[tuple[str, str, tuple[str, ...]]]:
    verified = program("box = private(f, 1, fuel=9, memory=9)", *lines, more=region)
    return [(site.parameter, site.key, site.keys) for site in payload_sites(verified, "main")]


def test_what_is_released_of_a_box() -> None:
    lines = ("release.update(box, of='x', weight='n', base=order.weights)", "log.note('done')")
    verified = program("box = private(f, 1, fuel=9, memory=9)", *lines, more=REGION)
    assert payload_sites(verified, "main") == (
        PayloadSite(15, "release.update", "of", "x", "f", ("n", "x")),
        PayloadSite(15, "release.update", "weight", "n", "f", ("n", "x")),
    )


COUNT = "release.count(box, of='n', name='n', high=3)"


@pytest.mark.parametrize(
    ("region", "lines", "found"),
    [
        ("def f(x):\n    return {'n': x}\n", [COUNT], [("of", "n", ("n",))]),
        ("def f(x):\n    return {'n': x}\n", [COUNT.replace("'n',", "order.round,", 1)], []),
        ("def f(x):\n    return {'n': x}\n", ["box = g(box)", COUNT], []),
        ("def f(x):\n    return {'n': x}\n", ["other = order.round", COUNT.replace("box", "other")], []),
        ("def f(x):\n    return {x: x}\n", [COUNT], []),
        ("def f(x):\n    return {}\n", [COUNT], []),
        ("def f(x):\n    return x\n", [COUNT], []),
        ("def f(x):\n    if x:\n        return {'n': x}\n", [COUNT], []),
        ("def f(x):\n    d = {'n': x}\n    return d\n", [COUNT], []),
    ],
)
def test_only_what_is_certain_of_payloads(region: str, lines: list[str], found: list[object]) -> None:
    assert payloads(region, *lines) == found
