"""A program as text, for reading and for tests. Nothing reads it back."""

from __future__ import annotations

from sojourn.vm.op import BINARY, BUILTINS, COMPARE, CONVERSIONS, EXCEPTIONS, ISA, METHODS, UNARY, Op, Operand, unpack
from sojourn.vm.places import module_file
from sojourn.vm.program import Function, Program, value_of

__all__ = ["disassemble"]

LONG_BITS = 10_000  # CPython prints integers to 4300 digits

_BUILTINS = tuple(BUILTINS)
_METHODS = tuple(METHODS)


def disassemble(program: Program) -> str:
    """One line for each instruction: source line, position, operation, operands by name."""
    lines = [f"program {program.digest.hex()} contract {program.contract}"]
    lines += [f"module {number}: {_shown(module_file(name))}" for number, name in enumerate(program.modules, 1)]
    for index, function in enumerate(program.functions):
        params = ", ".join(map(_shown, function.locals[: function.params]))
        mark = " entry" if index in program.entries else ""
        home = program.modules[function.module - 1 : function.module] if function.module else ()
        of = f" of {_shown(module_file(home[0]))}" if home else ""
        lines.append(f"\nfunction {index} {_shown(function.name)}({params}){mark}{of}")
        line = 0
        for at, word in enumerate(function.code):
            op, a, b = unpack(word)
            shown = f"{function.lines[at]:>5}" if function.lines[at] != line else " " * 5
            line = function.lines[at]
            spec = ISA[op]
            operands = [_operand(program, function, kind, number) for kind, number in ((spec.a, a), (spec.b, b))]
            lines.append(f"{shown} {at:>5}  {Op(op).name:<22}{' '.join(filter(None, operands))}".rstrip())
    return "\n".join(lines) + "\n"


def _operand(program: Program, function: Function, kind: Operand, number: int) -> str:
    if kind is Operand.NONE:
        return ""
    if kind is Operand.CONST:
        value = value_of(program.constants[number])
        return hex(value) if type(value) is int and value.bit_length() > LONG_BITS else repr(value)
    if kind is Operand.TARGET:
        return f"-> {number}"
    if kind is Operand.SHAPE:
        shape = program.shapes[number]
        return f"({', '.join(['.'] * shape.positional + [f'{_shown(name)}=' for name in shape.names])})"
    tables = {
        Operand.LOCAL: function.locals,
        Operand.LOOP: function.locals,
        Operand.NAME: program.names,
        Operand.EFFECT: program.names,
        Operand.FUNCTION: tuple(f.name for f in program.functions),
        Operand.BINARY: BINARY,
        Operand.UNARY: UNARY,
        Operand.COMPARE: COMPARE,
        Operand.BUILTIN: _BUILTINS,
        Operand.METHOD: _METHODS,
        Operand.EXCEPTION: EXCEPTIONS,
        Operand.CONVERSION: tuple(f"!{name}" if name else "" for name in CONVERSIONS),
    }
    return _shown(tables[kind][number]) if kind in tables else str(number)


def _shown(name: str) -> str:
    """A name that anybody may have chosen: nothing in it moves a cursor or ends a line."""
    return name if name.isprintable() else ascii(name)
