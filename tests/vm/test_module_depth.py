"""Modules that are nested too deep, in themselves or in a chain: refused where the reader has to look."""

from __future__ import annotations

import pytest
from sojourn.errors import ProgramRefused
from sojourn.limits import MAX_MODULE_DEPTH
from sojourn.vm import compile_source
from sojourn.vm.compiler import find_in

SOURCE = "from m0 import f\n@continuation\ndef main():\n    return f()\n"


def chain(length: int) -> dict[str, str]:
    """Modules `m0`, `m1`, …, each of which takes `f` from the next."""
    modules = {f"m{n}": f"\nfrom m{n + 1} import f\n" for n in range(length - 1)}
    return {**modules, f"m{length - 1}": "def f():\n    return 1\n"}


def test_a_chain_of_modules_ends_in_a_refusal_at_its_import() -> None:
    """As many as the limit are read; one more is refused in the file that imports it."""
    compile_source(SOURCE, "program.py", find=find_in(chain(MAX_MODULE_DEPTH)))
    with pytest.raises(ProgramRefused, match=f"more than {MAX_MODULE_DEPTH} deep") as caught:
        compile_source(SOURCE, "program.py", find=find_in(chain(200)))
    assert (caught.value.file, caught.value.line) == (f"m{MAX_MODULE_DEPTH - 1}.py", 2)


def test_a_module_that_is_nested_too_deep_is_named() -> None:
    """The refusal stands in the module's file."""
    modules = {"m0": f"def f():\n    return {'-' * 50_000}1\n"}
    with pytest.raises(ProgramRefused, match="nested too deep") as caught:
        compile_source(SOURCE, "program.py", find=find_in(modules))
    assert caught.value.file == "m0.py"
