"""Writes the reference pages from the tables that compiler, verifier, machine and hosts share.

python sdk/docs/reference/make.py          # writes language.md, effects.md and formats.md beside itself

`tests/vm/test_reference.py` fails when a page is not what this writes. What no table says (why, and how to use it)
stands in the guides and in docs/design/machine.md.
"""

from __future__ import annotations

import ast
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Final

from sojourn import limits, program
from sojourn.codec import HEADER_BYTES, Kind, Record
from sojourn.vm import CONTRACT, EFFECTS, costs
from sojourn.vm import program as programs
from sojourn.vm import snapshot as snapshots
from sojourn.vm.compiler import refusals
from sojourn.vm.compiler.statements import _HANDLERS as STATEMENTS
from sojourn.vm.effects import AGENT_EFFECTS, ROUNDS_EFFECTS
from sojourn.vm.effects import FORMS as CALLED
from sojourn.vm.methods import BY_CLASS as METHODS_OF
from sojourn.vm.op import EXTENDS, ISA, Op, Operand, Pops
from sojourn.vm.shape import Shape
from sojourn.vm.tables import (
    BINARY,
    BUILTINS,
    COMPARE,
    CONVERSIONS,
    EXCEPTIONS,
    KEYWORDS,
    MANY,
    METHODS,
    PARENTS,
    RAISABLE,
    TYPES,
    UNARY,
)
from sojourn.vm.values import HANDLE_KINDS, DictView, IterKind, SetValue, ViewKind

HERE: Final = Path(__file__).resolve().parent
MADE: Final = "<!-- Written by make.py from the tables of the code. Change those, then run it again. -->"
FORMS: Final = ("private", "here", "fork", "spawn", "join", "cancel")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; bars within cells are escaped."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def code(words: Iterable[object], joint: str = ", ") -> str:
    """Words as code."""
    return joint.join(f"`{word}`" for word in words)


def first_line(thing: object) -> str:
    """The first sentence of a docstring, on one line."""
    text = inspect.getdoc(thing) or ""
    return " ".join(text.partition("\n\n")[0].split())


def arguments(least: int, most: int) -> str:
    """How many positional arguments."""
    if least == most:
        return str(least)
    return f"{least} or more" if most >= MANY else f"{least} to {most}"


# language.md


LANGUAGE: Final = """\
# The language

{made}

What contract {contract} of the language has, table by table. How to write a program: [the guide](../guide/programs.md).
What is left out and why: [limits](../limitations/language.md).

## Statements

{statements}. Functions inside of functions, `nonlocal`, `lambda` and closures; all comprehensions; `:=`; f-strings;
unpacking with stars; slices, also as targets.

Refused, with what to write instead:

{syntax}
## Modules

`from module import name as other`, `import package.module as m` and `m.name`, `from .module import name`, above the
functions: Python files of the author's. A module's functions, its `NAME = literal`s and the modules that it imports are
its names. All of a module is in the language; entries stand in the program's own file. What is imported from
`sojourn.program` are words of the language.

## Operators

{operators}
## Functions

`sorted`, `min` and `max` take `key=` too, a function of the program. `isinstance(value, C)` takes a class or a tuple of
them: {types} or an exception.

{builtins}
Names of Python's that are not here:

{names}
## Methods

{methods}
By name too: {keywords}. `list.sort` takes `key=` and `reverse=` by name.

## Exceptions

`except` names any of these, or a tuple; a program makes those that are marked. An exception has `.args`.

{exceptions}
## Forms of its own

{forms}
## Budgets

One instruction costs one fuel; long operations cost more by their length. Memory is charged before it is taken:

{costs}
{limits}"""


def language() -> str:
    """The page of the language."""
    operators = [
        ("of two values, and in place (`+=`)", code(BINARY)),
        ("of one value", code((*UNARY, "not"))),
        ("comparisons, chained too", code((*COMPARE, "is None", "is not None"))),
        ("by truth", code(("and", "or", "not", "x if y else z"))),
    ]
    names = [(f"`{name}`", text.removeprefix("write ")) for name, text in refusals.NAMES.items()]
    forms = [(f"`{signature(name)}`", first_line(getattr(program, name))) for name in FORMS]
    return LANGUAGE.format(
        made=MADE,
        contract=CONTRACT,
        statements=code(statement_words()),
        syntax=table(["syntax", "refused because", "instead"], syntax_rows()),
        operators=table(["kind", "operators"], operators),
        types=code(TYPES),
        builtins=table(["function", "arguments by position", "by name"], builtin_rows()),
        names=table(["name", "instead"], names),
        methods=table(["class", "methods with their numbers of arguments by position"], method_rows()),
        keywords="; ".join(f"`{name}`: {code(word for word, _ in words)}" for name, words in KEYWORDS.items()),
        exceptions=table(["exception", "is a", "a program makes it"], exception_rows()),
        forms=table(["form", "what it does"], forms),
        costs=table(["what", "bytes"], cost_rows()),
        limits=table(["limit", "value"], [(f"`{name}`", f"{getattr(limits, name):,}") for name in LIMITS]),
    )


LIMITS: Final = ("MAX_FUEL", "MAX_MEMORY_BYTES", "MAX_FRAMES", "MAX_INSTRUCTIONS", "MAX_CONSTANTS",
                 "MAX_PROGRAM_MODULES", "MAX_PROGRAM_BYTES", "MAX_SNAPSHOT_BYTES")  # fmt: skip
COSTS: Final = {
    "SLOT": "a variable, an item of a list or tuple",
    "KEY_AND_VALUE": "an entry of a dict, a field of a record",
    "MEMBER": "a member of a set",
    "OBJECT": "a container, besides its items",
    "CELL_BYTES": "a variable that functions share",
    "EXCEPTION_BYTES": "an exception",
    "OPAQUE_BYTES": "a handle or a box",
    "BOX_BYTES": "what a box of an effect holds; a region's box costs what the region was given",
    "FRAME_BYTES": "a call, besides its variables",
}
_WORDS: Final = {
    "AnnAssign": "x: T = y", "Assert": "assert", "Assign": "x = y", "AugAssign": "x += y", "Break": "break",
    "Continue": "continue", "Delete": "del", "Expr": "f(x)", "For": "for ... else", "FunctionDef": "def", "If": "if",
    "Nonlocal": "nonlocal", "Pass": "pass", "Raise": "raise ... from", "Return": "return",
    "Try": "try ... except ... else ... finally", "While": "while ... else",
}  # fmt: skip
_SYNTAX: Final = {
    "AsyncFor": "async for", "AsyncFunctionDef": "async def", "AsyncWith": "async with", "Await": "await",
    "ClassDef": "class", "Global": "global", "Import": "import", "ImportFrom": "from ... import", "Match": "match",
    "Starred": "*", "TryStar": "except*", "With": "with", "Yield": "yield", "YieldFrom": "yield from",
}  # fmt: skip


def statement_words() -> list[str]:
    """The statements that the compiler handles."""
    return [_WORDS[kind.__name__] for kind in STATEMENTS]


def syntax_rows() -> list[tuple[str, str, str]]:
    """Syntax that the compiler names in a refusal."""
    return [
        (f"`{_SYNTAX[kind.__name__]}`", why, instead.removeprefix("write "))
        for kind, (why, instead) in refusals.SYNTAX.items()
    ]


def builtin_rows() -> list[tuple[str, str, str]]:
    """Builtin functions that an author can call."""
    return [
        (
            f"`{name}`",
            arguments(arity.least, arity.most),
            code("any name" if word == "*" else word for word in arity.keywords),
        )
        for name, arity in sorted(BUILTINS.items())
        if not name.startswith(".")
    ]


def method_rows() -> list[tuple[str, str]]:
    """Methods of each class."""
    return [
        (
            f"`{kind}`" if " " not in kind else kind,
            ", ".join(f"`{name}` {arguments(*row)}" for name, row in rows.items()),
        )
        for kind, rows in methods_by_class().items()
    ]


def methods_by_class() -> dict[str, dict[str, tuple[int, int]]]:
    """The methods of each class, in the order of their numbers: the least and the most positional arguments."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    names = list(METHODS)
    for (kind, name), (least, most, _) in sorted(METHODS_OF.items(), key=lambda row: names.index(row[0][1])):
        title = {SetValue: "set", DictView: "view of a dict"}.get(kind, kind.__name__)
        by_name = kind is dict and name == "update"  # its last one is the dict of its keywords
        found.setdefault(title, {})[name] = (least, most - by_name)
    return dict(sorted(found.items()))


def exception_rows() -> list[tuple[str, str, str]]:
    """Exceptions with their classes."""
    return [
        (f"`{name}`", code([PARENTS[name]]) if PARENTS[name] else "", "yes" if name in RAISABLE else "")
        for name in sorted(EXCEPTIONS)
    ]


def cost_rows() -> list[tuple[str, int]]:
    """What values cost."""
    return [(what, getattr(costs, name)) for name, what in COSTS.items()]


def signature(name: str) -> str:
    """How a form is called."""
    parts = []
    for parameter in inspect.signature(getattr(program, name)).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            parts.append(f"*{parameter.name}")
        elif parameter.kind is parameter.KEYWORD_ONLY:
            parts.append(f"{parameter.name}=...")
        else:
            default = "" if parameter.default is parameter.empty else f"={parameter.default}"
            parts.append(parameter.name + default)
    return f"{name}({', '.join(parts)})"


# effects.md


EFFECTS_PAGE: Final = """\
# Effects

{made}

An effect is a request of a program to its host: the program parks, and goes on with the result. *public* is the world
outside of `private(...)`, *region* inside. *pure* effects can be computed again, *read* effects record what they read,
*commit* effects are durable before anything leaves the host. Where boxes are taken, a box as an argument makes the
result a box, and an error goes into it.

{effects}
Handles are of the kinds {kinds}. A handle names something that the host keeps; a program can keep it, pass it and
compare it, and look at nothing inside.

`join(task)` and `cancel(task)` are `task.join` and `task.cancel`; `fork` and `spawn` park with an effect of their own,
`task.spawn`. Agents serve children ([what each means](../design/machine.md#children-on-an-agent)), a coordinator does
not.
"""


def effects() -> str:
    """The page of the effects."""
    return EFFECTS_PAGE.format(
        made=MADE,
        effects=table(["effect", "world", "durability", "boxes", "served by", "what it does"], effect_rows()),
        kinds=code(sorted(HANDLE_KINDS)),
    )


def effect_rows() -> list[tuple[str, str, str, str, str, str]]:
    """Every effect that can be written."""
    rows: list[tuple[str, str, str, str, str, str]] = []
    for spec in EFFECTS.values():
        if spec.hidden:
            continue
        served = [
            who for who, names in (("agent", AGENT_EFFECTS), ("coordinator", ROUNDS_EFFECTS)) if spec.name in names
        ]
        boxes = "releases one" if spec.releases else "yes" if spec.boxed else ""
        worlds = "both" if len(spec.worlds) > 1 else next(iter(spec.worlds))
        by = ", ".join(served) or "nobody yet"
        rows.append((f"`{spec.signature}`", worlds, spec.durability, boxes, by, doc_of(spec.name)))
    return rows


def doc_of(name: str) -> str:
    """What the stub of an effect says."""
    namespace, _, effect = name.partition(".")
    form = next((form for form, behind in CALLED.items() if behind == name), None)
    if form is not None:
        return first_line(getattr(program, form))
    return first_line(getattr(getattr(program, namespace), effect))


# formats.md


FORMATS: Final = """\
# Program and snapshot

{made}

Both are stamped with contract {contract}. What the parts mean: [the machine](../design/machine.md). Golden files of
both are resumed in `tests/vm/test_golden.py`, which holds numbers and layouts too.

## Framing

{header} bytes: `SJ`, the kind, the version, both big endian in two bytes; then one MessagePack array with the record's
fields in order. A record within another one has no header; one of a union begins with its tag. Decoding is strict: what
was decoded is encoded again, and other bytes are refused.

{framing}
## Program

Its identity is the SHA-256 of its bytes.

{program}
{flags}

Constants are null, booleans, integers of 64 bits, floats and text of MessagePack, or one of:

{constants}
## Instructions

One integer each: operation, first operand, second operand, as `op | a << 8 | b << 32`; operands have 24 bits. Pops and
pushes are values of the operand stack; *on a jump* is how the depth at the target differs.

{instructions}
Operand kinds: {operands}. `kind` of EXTEND: {extends}.

## Numbers

{numbers}
## Snapshot

{values}

{snapshot}
## Cells

{cells}"""


def formats() -> str:
    """The page of program and snapshot."""
    framing = [
        ("`Program`", f"`0x{Kind.PROGRAM:04x}`", programs.Program.VERSION, f"{limits.MAX_PROGRAM_BYTES:,}"),
        ("`Snapshot`", f"`0x{Kind.SNAPSHOT:04x}`", snapshots.Snapshot.VERSION, f"{limits.MAX_SNAPSHOT_BYTES:,}"),
    ]
    flags = {name: getattr(programs, name) for name in ("REST", "NAMED", "COMPUTED", "REQUIRED")}
    return FORMATS.format(
        made=MADE,
        contract=CONTRACT,
        header=HEADER_BYTES,
        framing=table(["record", "kind", "version", "largest, bytes"], framing),
        program=records(programs.Program, programs.Function, programs.Handler, Shape),
        flags=", ".join(f"`{name}` is {number}" for name, number in flags.items()) + ".",
        constants=records(programs.BigInt, programs.BytesConstant, programs.TupleConstant),
        instructions=table(["number", "operation", "a", "b", "pops", "pushes", "on a jump"], instruction_rows()),
        operands=code(kind.name.lower() for kind in Operand if kind is not Operand.NONE),
        extends=numbered(EXTENDS),
        numbers=table(["table", "names by number"], number_rows()),
        values=first_paragraph(snapshots),
        snapshot=records(snapshots.Snapshot, snapshots.RunRow, snapshots.FrameRow, snapshots.PendingRow),
        cells=table(["tag", "cell", "fields", "meaning"], cell_rows()),
    )


def number_rows() -> list[tuple[str, str]]:
    """The numbered tables."""
    return [
        ("binary", numbered(BINARY)),
        ("unary", numbered(UNARY)),
        ("compare", numbered(COMPARE)),
        ("conversion", numbered(["none", *CONVERSIONS[1:]])),
        ("builtin", numbered(BUILTINS)),
        ("method", numbered(METHODS)),
        ("exception", numbered(EXCEPTIONS)),
        ("iterator", numbered(kind.name.lower() for kind in sorted(IterKind))),
        ("view of a dict", numbered(kind.name.lower() for kind in sorted(ViewKind))),
    ]


def cell_rows() -> list[tuple[object, ...]]:
    """Every cell of a snapshot."""
    rows: list[tuple[object, ...]] = []
    for cls in typing.get_args(snapshots.Cell):
        fields = ", ".join(f"{name}: {type_of(cls.__annotations__[name])}" for name in cls.__struct_fields__)
        rows.append((cls.__struct_config__.tag, f"`{cls.__name__}`", fields, first_line(cls)))
    return rows


def records(*classes: Any) -> str:
    """Several records."""
    return "\n".join(record(cls) for cls in classes)


def record(cls: type[Record]) -> str:
    """One record: tag, meaning, fields."""
    tag = cls.__struct_config__.tag
    meanings = field_meanings(cls)
    fields = cls.__struct_fields__
    names = [(group, word) for group in meanings for word in group.split(", ")]
    rows = []
    for position, field in enumerate(fields):
        meaning = next((meanings[group] for group, word in names if word == field), "")
        rows.append((position, f"`{field}`", type_of(cls.__annotations__[field]), meaning))
    head = ["position", "field", "type"] + (["meaning"] if meanings else [])
    shown = [row[: len(head)] for row in rows]
    titled = f"**`{cls.__name__}`**" + (f", tag {tag}" if tag is not None else "")
    return f"{titled}: {first_line(cls)}\n\n{table(head, shown)}"


def field_meanings(cls: type[Record]) -> dict[str, str]:
    """What the docstring's section of attributes says of each."""
    _, _, section = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    for item in re.split(r"\n(?=    \S)", "\n" + section.partition("\n\n")[0]):
        name, mark, text = item.strip().partition(": ")
        if mark:
            found[name] = " ".join(text.split())
    return found


def type_of(annotation: Any) -> str:
    """A field's type in words."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    if isinstance(annotation, UnionType):
        text = str(annotation)
    return f"`{ast.unparse(ast.parse(text, mode='eval'))}`"


def instruction_rows() -> list[tuple[object, ...]]:
    """The instruction set."""
    rows: list[tuple[object, ...]] = []
    for op in sorted(Op):
        spec = ISA[op]
        jump = "" if spec.on_jump is None else f"{spec.on_jump:+d}" if spec.on_jump else "0"
        operands = ("" if kind is Operand.NONE else kind.name.lower() for kind in (spec.a, spec.b))
        pushes = "ends" if spec.ends and spec.on_jump is None else count(spec.pushes)
        rows.append((int(op), f"`{op.name}`", *operands, count(spec.pops), pushes, jump))
    return rows


def count(number: int) -> str:
    """A count of values, or how an operand gives it."""
    if number >= 0:
        return str(number)
    words = {
        Pops.A: "a",
        Pops.TWICE_A: "2a",
        Pops.SHAPE: "its shape",
        Pops.SHAPE_AND_ONE: "its shape + 1",
        Pops.B: "b",
        Pops.A_AND_B_AND_ONE: "a + b + 1",
    }
    return words[Pops(number)]


def numbered(names: Iterable[str]) -> str:
    """Names with their numbers."""
    return ", ".join(f"{number} `{name}`" for number, name in enumerate(names))


def first_paragraph(module: object) -> str:
    """The text of a module's docstring behind its title."""
    return " ".join((inspect.getdoc(module) or "").partition("\n\n")[2].split())


PAGES: Final[dict[str, Callable[[], str]]] = {"language.md": language, "effects.md": effects, "formats.md": formats}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (HERE / page).write_text(make().rstrip() + "\n", "utf-8")
        print(HERE / page)
