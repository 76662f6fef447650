"""The virtual machine: source to program, program to run, run to bytes and back.

Rules of this package:

* Pure: no I/O, no clock, no randomness, no host object inside of a value. Effects are values that the host answers.
* The same program with the same results of effects makes the same state, byte for byte, however it is sliced, stored
  and loaded between. Costs of fuel and memory come from this package's own tables.
* Programs and snapshots are untrusted bytes: `verify` and `Machine.load` return what may run, or raise.
* Private values are inside of regions and boxes only; nothing of the public world depends on them.
"""

from sojourn.vm.authoring import Continuation, continuation
from sojourn.vm.compiler import compile_source
from sojourn.vm.disassembler import disassemble
from sojourn.vm.effects import EFFECTS, EffectSpec
from sojourn.vm.machine import Machine
from sojourn.vm.program import CONTRACT, Program
from sojourn.vm.progress import Done, Effect, Failed, OutOfFuel, Parked, Progress, Sliced
from sojourn.vm.values import Box, Handle, RecordValue, RegionError, Value
from sojourn.vm.verifier import VerifiedProgram, verify

__all__ = [
    "CONTRACT",
    "EFFECTS",
    "Box",
    "Continuation",
    "Done",
    "Effect",
    "EffectSpec",
    "Failed",
    "Handle",
    "Machine",
    "OutOfFuel",
    "Parked",
    "Program",
    "Progress",
    "RecordValue",
    "RegionError",
    "Sliced",
    "Value",
    "VerifiedProgram",
    "compile_source",
    "continuation",
    "disassemble",
    "verify",
]
