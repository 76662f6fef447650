"""From the source of a Python module to a program.

Rules of this package:

* The input is source text, never a function object or bytecode: what is signed is what was read.
* What the language does not have is refused with file, line, column, why, and what to write instead.
* The output is a function of the text alone.
"""

from sojourn.vm.compiler.module import compile_source

__all__ = ["compile_source"]
