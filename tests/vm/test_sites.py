"""Where a program makes its effects, and which of their arguments are literals."""

from __future__ import annotations

import pytest
from sojourn.codec import encode
from sojourn.errors import ProgramInvalid
from sojourn.vm import compile_source, verify
from sojourn.vm.sites import EffectSite, effect_sites

HEAD = "from sojourn.program import continuation, fleet, gpu, log, private, release, stream\n"


def sites(body: str, entry: str = "main") -> list[EffectSite]:
    program = compile_source(HEAD + body, "program.py")
    return list(effect_sites(verify(encode(program)), entry))


def only(body: str) -> EffectSite:
    (found,) = sites(body)
    return found


def test_literals_are_found_by_position_and_by_keyword():
    found = only("@continuation\ndef main(order):\n    stream.open('patients', fields=['x', 'y'])\n")
    assert (found.effect, found.function, found.line) == ("stream.open", "main", 4)
    assert found.names == ("name", "fields")
    assert dict(found.constants) == {"name": "patients", "fields": ("x", "y")}


def test_what_is_no_literal_is_left_out():
    body = "@continuation\ndef main(order):\n    what = 'a'\n    stream.open(what, fields=['x', order.args['f']])\n"
    assert dict(only(body).constants) == {}
    assert only(body).names == ("name", "fields")


@pytest.mark.parametrize(("text", "value"), [("-1", -1), ("-0.5", -0.5), ("2.5", 2.5), ("None", None), ("()", ())])
def test_numbers_with_a_sign_are_literals(text, value):
    assert dict(only(f"@continuation\ndef main(order):\n    log.note({text})\n").constants) == {"text": value}


def test_a_value_that_may_come_on_two_ways_is_unknown():
    body = "@continuation\ndef main(order):\n    log.note('a' if order.round else 'b')\n"
    assert dict(only(body).constants) == {}
    assert dict(only("@continuation\ndef main(order):\n    log.note(order.round and 'b')\n").constants) == {}


def test_an_argument_before_a_branch_is_not_taken_from_it():
    """The stack below a conditional expression is forgotten: nothing is claimed that may not hold."""
    body = "@continuation\ndef main(order):\n    stream.open('a', fields=['x'] if order.round else ['y'])\n"
    assert "fields" not in only(body).constants


def test_functions_and_regions_that_an_entry_reaches_count_and_others_do_not():
    body = """
def inside(rows):
    return stream.first(rows)

def helper(n):
    log.note('helped')
    return n

def lonely(n):
    log.note('never')

@continuation
def main(order):
    rows = stream.open('s', fields=['x'])
    box = private(inside, rows, fuel=10, memory=10)
    release.count(box, of='n', name='n', high=helper(3))

@continuation
def other(order):
    lonely(1)
"""
    found = sites(body)
    assert {(site.function, site.effect) for site in found} == {
        ("inside", "stream.first"), ("helper", "log.note"), ("main", "stream.open"), ("main", "release.count"),
    }  # fmt: skip
    (release,) = [site for site in found if site.effect == "release.count"]
    assert dict(release.constants) == {"of": "n", "name": "n"}
    assert [site.constants["text"] for site in sites(body, "other")] == ["never"]


def test_sites_agree_with_the_verifier_on_every_sample():
    body = "@continuation\ndef main(order):\n    for k in range(3):\n        log.note('x')\n        log.note(str(k))\n"
    program = verify(encode(compile_source(HEAD + body, "program.py")))
    assert {site.effect for site in effect_sites(program, "main")} == program.effects("main")


def test_an_unknown_entry_is_named():
    with pytest.raises(ProgramInvalid, match="no entry 'mian'"):
        sites("@continuation\ndef main(order):\n    log.note('x')\n", "mian")
