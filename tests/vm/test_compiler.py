"""The compiler: what it refuses, where, why, and what it says to write instead."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from sojourn.errors import ProgramRefused
from sojourn.vm import Done, compile_source, disassemble, verify
from sojourn.vm.compiler.refusals import FOREIGN_EXCEPTIONS, METHOD_HINTS, NAMES, SYNTAX
from sojourn.vm.compiler.refusals import MODULES as REFUSED_MODULES
from sojourn.vm.op import EXCEPTIONS, METHODS

MAIN = "@continuation\ndef main(a, b):\n    "

# source of the body, column, a part of why, a part of what to write instead
BODIES = [
    ("class B:\n        x = 1", 5, "classes are not", "write functions"),
    ("x = (i for i in a)", 9, "a generator expression is only taken by a call", "[... for ... in ...]"),
    ("x = enumerate(i for i in a)", 18, "a generator expression is only taken by a call", "[... for ... in ...]"),
    ("x = sum((i for i in a), 1)", 13, "a generator expression is only taken by a call", "[... for ... in ...]"),
    ("x = a.sort(key=b, wrong=1)", 9, "sort() does not take these arguments", "write sort(items, key=f)"),
    ("x = max(1, 2, key=b, default=3)", 9, "max() takes one iterable here", "write max(items, key=f)"),
    ("x = sorted(a, b, key=b)", 9, "sorted() takes one iterable here", "write sorted(items, key=f)"),
    ("x = ValueError", 9, "ValueError is no value here", "ValueError(...)"),
    ("x = private", 9, "private is no value here", "private(...)"),
    ("x = ValueError(text='x')", 9, "no keyword arguments", "write ValueError(text)"),
    ("x = isinstance(a, b)", 23, "a class is written by its name", "write one of bool"),
    ("x = isinstance(a, ())", 23, "no class at all", "the name of a class"),
    ("x = isinstance(a)", 9, "isinstance() takes 2 arguments", "isinstance(value, int)"),
    ("try:\n        pass\n    except OSError:\n        pass", None, "a class is written by its name", "write one of"),
    ("raise", 5, "outside of an except block", "write raise ValueError(text)"),
    ("raise SystemExit(1)", 11, "SystemExit is not an exception of this language", "RuntimeError(text)"),
    ("raise ValueEror(1)", 11, "no function has the name ValueEror", "write ValueError(...)"),
    ("raise QuorumMissed('x')", 11, "only made by a host", "write raise RuntimeError"),
    ("x = a.__class__()", 9, "there is no method __class__", "write one of add"),
    ("x = a.format(1)", 9, "there is no method format", "write an f-string"),
    ("x = a.quux(1)", 9, "there is no method quux", "write one of add"),
    ("x = a.appendd(1)", 9, "there is no method appendd", "write append(...)"),
    ("x = a.backward()", 9, "there is no method backward", "write gpu.run(name, ...) with a graph"),
    (
        "x = foo.bar(1)",
        9,
        "nothing here has the name foo",
        "the namespaces of effects are stream, gpu, tensor, release",
    ),
    (
        "x = logs.note('a')",
        9,
        "logs is no namespace of effects and no variable here (there are stream",
        "log.note(...)",
    ),
    ("x = relase.count(a)", 9, "relase is no namespace of effects", "write release.count(...)"),
    ("x = data.batch(a)", 9, "data is no namespace of effects", "write stream.batch(...)"),
    ("x = steam.read(a)", 9, "steam is no namespace", "stream.open(...) or stream.first(...) or stream.batch(...)"),
    ("x = np.zeros(3)", 9, "np is no namespace of this language", "write gpu.run(name, ...) with a graph"),
    ("x = np.pi", 9, "np is no namespace of this language", "write gpu.run(name, ...) with a graph"),
    ("x = foo.bar", 9, "nothing here has the name foo", "the namespaces of effects are"),
    ("x = random.random()", 9, "random is no namespace", "a program has no randomness"),
    ("x = stream.read(a)", 9, "there is no effect stream.read", "write one of stream.open, stream.first, stream.batch"),
    ("x = gpu.rum('g')", 9, "there is no effect gpu.rum", "write gpu.run"),
    ("x = log.info('g')", 9, "there is no effect log.info", "write log.note"),
    ("x = lenn(a)", 9, "no function has the name lenn", "write len(...)"),
    ("pritn(a)", 5, "no function has the name pritn", "write log.note(text)"),
    ("x = mian(a, b)", 9, "no function has the name mian", "write main(...)"),
    ("alpha = 3\n    x = alhpa", None, "nothing here has the name alhpa", "write alpha, or an assignment first"),
    (f"x = {'f' * 41}(1)", 9, "no function has the name", "this file's (main)"),
    ("x = a.union(*b)", 17, "* is not taken by this call", "one by one"),
    ("x = gpu.run('g', **a)", 24, "** is not taken by this call", "one by one"),
    ("x = gpu.walk('g')", 9, "there is no effect gpu.walk", "write gpu.run"),
    ("x = task.spawn(1, 2, 3)", 9, "there is no effect task.spawn", "task.join"),
    ("global x", 5, "global is not", "nonlocal"),
    ("x = here(1)", 9, "here() takes no arguments", "write here()"),
    ("x = fork()", 9, "fork() takes fuel= and memory=", "fork(fuel=..., memory=...)"),
    ("x = fork(1, fuel=1, memory=1)", 9, "fork() takes fuel= and memory=", "fork(fuel=..., memory=...)"),
    ("x = spawn()", 9, "spawn() starts a function", "write spawn(f, argument"),
    ("x = spawn(a)", 9, "spawn() takes the arguments", "write spawn(f, ..."),
    ("x = spawn(main, 1, fuel=1, memory=1)", 9, "lacks the argument 'b'", "write spawn(main, a, b"),
    ("x = join()", 9, "task.join() lacks 'task'", "write task.join(task, within=None)"),
    ("private()", 5, "private() starts a function of this file by its name", "private(f, argument"),
    ("private(a)", 5, "and fuel= and memory=", "private(f, ..., fuel=..., memory=...)"),
    ("@a\n    def f():\n        pass", 6, "a decorator inside of a function", "name = decorator(name)"),
    ("def f(x, /):\n        pass", 11, "/ in a parameter list", "by its name"),
    ("try:\n        pass\n    except* ValueError:\n        pass", 5, "except* is not", "write except"),
    ("x = f'{a:n}{b}'", None, "format 'n' is not", "width"),
    ("with a:\n        pass", 5, "with is not in this language", "nothing has to be closed"),
    ("class A:\n        pass", 5, "classes are not", "write functions"),
    ("import os", 5, "imports are not", "from sojourn.program import"),
    ("from os import path", 5, "imports are not", "from sojourn.program import"),
    ("yield a", 5, "generators are not", "into a list"),
    ("match a:\n        case 1:\n            pass", 5, "match is not", "write if and elif"),
    ("x = a @ b", 9, "@ is not", "gpu.run"),
    ("x = a is b", 9, "is compares identity", "write =="),
    ("x = a is None is b", 9, "is compares identity", "write =="),
    ("x = main(1)", 9, "main() lacks the argument 'b'", "write main(a, b)"),
    ("x = main(1, 2, 3)", 9, "takes 2 arguments, 3 are given", "write main(a, b)"),
    ("x = main(1, 2, c=3)", 9, "no parameter 'c'", "write main(a, b)"),
    ("x = main(1, a=3)", 9, "given 'a' twice", "write main(a, b)"),
    ("x = gpu", 9, "gpu is a namespace of effects", "gpu.x(...)"),
    ("x = gpu.run", 9, "gpu.run is no value", "gpu.run(...)"),
    ("x = gpu.run()", 9, "gpu.run() lacks 'name'", "gpu.run(name, **inputs)"),
    ("release.mean(a, of='x', name='n', low=0.0)", 5, "lacks 'high'", "release.mean(box, of, name, low, high)"),
    ("release.mean(a, 'x', 'n', 0.0, 1.0, 2.0)", 5, "takes 5 positional arguments, 6", "release.mean("),
    ("release.count(a, box=a, of='n', name='n', high=1)", 5, "given 'box' twice", "release.count("),
    ("log.note(text='x', level=3)", 5, "no parameter 'level'", "log.note(text)"),
    ("private(main, a, b)", 5, "and fuel= and memory=", "private(main, a, b, fuel=..., memory=...)"),
    ("private(main, a, b, fuel=1, memory=1, time=1)", 5, "by position", "private(main, a, b, fuel="),
    ("private(main, a, fuel=1, memory=1)", 5, "lacks the argument 'b'", "private(main, a, b, fuel="),
    ("print(a)", 5, "print() is not", "log.note(text)"),
    ("x = eval('1')", 9, "eval() is not", "write"),
    ("x = open('f')", 9, "open() is not", "stream.open"),
    ("x = missing(1)", 9, "no function has the name missing", "this file's (main)"),
    ("x = missing", 9, "nothing here has the name missing", "NAME = literal"),
    ("model = a\n    model.publish(a, round=1)", 5, "hides the effects of that name", "another name for the variable"),
    ("x = len()", 9, "len() takes 1 arguments, 0", "write 1 arguments"),
    ("x = len(a, b)", 9, "len() takes 1 arguments, 2", "write 1 arguments"),
    ("x = a.get()", 9, "the method get() takes 1 to 2", "write 1 to 2"),
    ("a.x = 1", 5, "records do not change", "an item of a dict"),
    ("a.x += 1", 5, "records do not change", "an item of a dict"),
    ("x = 1j", 9, "1j is not a value", "ints and floats"),
    ("x = ...", 9, "... is not a value", "ints and floats"),
    ("x = '\\ud800'", 9, "lone surrogate", "UTF-8"),
    ("x = f'{a:n}'", None, "format 'n' is not", "width"),
    ("x = f'{a:>9999}'", None, "asks for more than 1000", "width"),
]


@pytest.mark.parametrize(("body", "column", "why", "instead"), BODIES)
def test_refused_in_a_function(body: str, column: int | None, why: str, instead: str) -> None:
    with pytest.raises(ProgramRefused) as refusal:
        compile_source(MAIN + body + "\n", "program.py")
    problem = refusal.value
    assert why in problem.why
    assert instead in problem.instead
    where = problem.line - 3
    assert where == (body.count("\n") if "hides" in why or "alhpa" in why else 2 if "OSError" in body else 0)
    assert column is None or problem.column == column
    assert str(problem) == f"program.py:{problem.line}:{problem.column}: {problem.why}; {problem.instead}"
    assert problem.instead.startswith("write ")


MODULES = [
    ("import mine\n" + MAIN + "pass\n", 1, "importing mine", "write only: from sojourn.program"),
    ("import os\n" + MAIN + "pass\n", 1, "importing os", "write effects: stream.open(...) for rows"),
    ("import numpy as np\n" + MAIN + "pass\n", 1, "importing numpy", "with a graph of the job's plan"),
    (
        "import torch.nn as nn\n" + MAIN + "pass\n",
        1,
        "importing torch.nn",
        "(imports are only: from sojourn.program import",
    ),
    ("from sojourn.program import relase\n" + MAIN + "pass\n", 1, "has no relase", "write release"),
    (MAIN + "pass\nif __name__ == '__main__':\n    main()\n", 4, "outside of functions", "an order starts an entry"),
    (MAIN + "pass\nif 1:\n    main()\n", 4, "outside of functions", "inside of a function"),
    ("from sojourn import vm\n" + MAIN + "pass\n", 1, "importing sojourn", "write only: from sojourn.program"),
    ("from .program import gpu\n" + MAIN + "pass\n", 1, "importing .program", "else only: from"),
    ("from sojourn.program import gpu as g\n" + MAIN + "pass\n", 1, "import ... as", "write import gpu"),
    ("from sojourn.program import os\n" + MAIN + "pass\n", 1, "has no os", "write some of Cancelled"),
    ("from sojourn.program import *\n" + MAIN + "pass\n", 1, "import * is not", "write the names that you use"),
    ("from __future__ import annotations\n" + MAIN + "pass\n", 1, "importing __future__", "write only"),
    ("x = [1]\n" + MAIN + "pass\n", 1, "x is not a literal", "inside of a function"),
    ("x = y = 1\n" + MAIN + "pass\n", 1, "outside of functions", "inside of a function"),
    ("for x in (1,):\n    pass\n" + MAIN + "pass\n", 1, "outside of functions", "inside of a function"),
    ("class A:\n    pass\n" + MAIN + "pass\n", 1, "classes", "write functions"),
    ("async def f():\n    pass\n" + MAIN + "pass\n", 1, "async def", "effects wait by themselves"),
    ("def f():\n    pass\n\ndef f():\n    pass\n" + MAIN + "pass\n", 4, "f is defined twice", "another name"),
    ("def gpu():\n    pass\n" + MAIN + "pass\n", 1, "gpu is a name of the language", "another name"),
    ("private = 1\n" + MAIN + "pass\n", 1, "private is a name of the language", "another name"),
    ("@cache\ndef f():\n    pass\n" + MAIN + "pass\n", 1, "a decorator", "@continuation, once"),
    ("@continuation()\ndef f():\n    pass\n", 1, "a decorator", "@continuation, once"),
    ("def f(a, /):\n    pass\n" + MAIN + "pass\n", 1, "the parameter a", "by its name"),
    ("def f(a=[]):\n    pass\n" + MAIN + "pass\n", 1, "a default", "None as the default"),
    ("def f(a=g()):\n    pass\n" + MAIN + "pass\n", 1, "a default", "None as the default"),
    ("@continuation\ndef f(*a):\n    pass\n", 2, "the parameter a", "without *"),
    ("@continuation\ndef f(*, a):\n    pass\n", 2, "the parameter a", "without *"),
    (MAIN + "break\n", 3, "not Python: 'break' outside loop", "valid Python"),
    (MAIN + "nonlocal x\n", 3, "not Python: no binding for nonlocal 'x'", "valid Python"),
    (MAIN + "return await a\n", 3, "await is not in this language", "write plain calls: effects wait by themselves"),
    (MAIN + "async with a:\n        pass\n", 3, "async with is not", "write plain calls"),
    ("def f():\n    pass\n", 1, "no entry", "@continuation above a function"),
    ("", 1, "no entry", "@continuation above a function"),
    ("def f(:\n", 1, "not Python", "valid Python"),
    ("x = '\0'", 1, "not Python", "valid Python"),
    ("x = " + "(" * 500 + ")" * 500, 1, "not Python", "valid Python"),
    (MAIN + "x = " + "-" * 3000 + "a\n", 1, "nested too deep", "simpler expressions"),
    (MAIN + "x = " + "+".join(["a"] * 3000) + "\n", 1, "nested too deep", "simpler expressions"),
    (MAIN + "x = [" + "1, " * 2000 + "]\n", 1, "too large", "simpler expressions"),
    ("# " + "x" * 2**20 + "\n" + MAIN + "pass\n", 1, "more than 1048576 bytes", "a shorter program"),
]


@pytest.mark.parametrize(("source", "line", "why", "instead"), MODULES)
def test_refused_in_a_module(source: str, line: int, why: str, instead: str) -> None:
    with pytest.raises(ProgramRefused) as refusal:
        compile_source(source, "program.py")
    assert refusal.value.line == line
    assert why in refusal.value.why
    assert instead in refusal.value.instead


def test_every_refusal_says_what_to_write() -> None:
    assert all(instead.startswith("write ") for _, instead in SYNTAX.values())
    for table in (NAMES, METHOD_HINTS, REFUSED_MODULES):
        assert all(instead.startswith("write ") for instead in table.values())
    assert not set(METHOD_HINTS) & set(METHODS)
    assert not FOREIGN_EXCEPTIONS & set(EXCEPTIONS)
    assert {ast.TryStar, ast.Global, ast.Yield, ast.With, ast.ClassDef} <= SYNTAX.keys()


def test_import_of_names_is_accepted_and_ignored(kit: Any) -> None:
    plain = compile_source(kit.HOSPITAL, "a.py")
    names = "continuation, fleet, gpu, log, model, private, release, stream, tensor, updates"
    moved = compile_source(f"from sojourn.program import {names}" + kit.HOSPITAL, "b.py")
    assert moved == plain
    assert moved.digest == plain.digest


def test_identity_is_the_code_and_its_lines_alone(kit: Any) -> None:
    commented = kit.HOSPITAL.replace("a = order.args", "a = order.args  # arguments")
    assert compile_source(commented, "x.py").digest == compile_source(kit.HOSPITAL, "y.py").digest
    other = kit.HOSPITAL.replace("high=10.0", "high=11.0")
    assert compile_source(other, "x.py").digest != compile_source(kit.HOSPITAL, "x.py").digest


def test_constants_that_are_equal_stay_apart(kit: Any) -> None:
    source = "@continuation\ndef main():\n    return [1, True, 1.0, 0.0, -0.0, 0, False, '', b'', 10**20, -1]\n"
    done = kit.evaluate(source)
    assert isinstance(done, Done)
    assert repr(done.value) == f"[1, True, 1.0, 0.0, -0.0, 0, False, '', b'', {10**20}, -1]"
    big = "@continuation\ndef main():\n    return [9223372036854775807, 9223372036854775808, -9223372036854775809]\n"
    assert kit.evaluate(big).value == [2**63 - 1, 2**63, -(2**63) - 1]


def test_disassembly_names_everything(kit: Any) -> None:
    text = disassemble(compile_source(kit.HOSPITAL, "a.py"))
    for part in ("function 1 hospital(order) entry", "EFFECT                stream.batch (., ., .)", "IS_NONE",
                 "PRIVATE               train (., ., ., ., fuel=, memory=)", "ATTRIBUTE             weights",
                 "NEXT                  .1 -> ", "CONST                 'patients'"):  # fmt: skip
        assert part in text
    assert len(text.splitlines()) > len(verify(compile_source(kit.HOSPITAL, "a.py").encode()).codes[0].instructions)
