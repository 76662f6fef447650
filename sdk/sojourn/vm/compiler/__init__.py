"""From the source of Python modules to a program.

Rules of this package:

* The input is source text, never a function object or bytecode: what is signed is what was read.
* What the language does not have is refused with file, line, column, why, and what to write instead.
* The output is a function of the text alone.
"""

from sojourn.vm.compiler.module import compile_source
from sojourn.vm.compiler.sources import Find, ModuleSource, find_in

__all__ = ["Find", "ModuleSource", "compile_source", "find_in"]
