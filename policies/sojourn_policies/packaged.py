"""Round loops that ship with the system, as source in the language of `sojourn.vm`.

A job names a rounds program by its hash, so these are ordinary programs that an author compiles and signs.
"""

from __future__ import annotations

from importlib import resources

from sojourn.errors import ConfigError

__all__ = ["packaged_rounds"]


def packaged_rounds(name: str = "fedavg") -> tuple[str, str]:
    """Source and file name of a packaged round loop, ready for `sojourn.vm.compile_source`. Its entry is `rounds`.

    Raises:
        ConfigError: there is no such program.
    """
    folder = resources.files("sojourn_policies") / "programs"
    found = sorted(item.name.removesuffix(".py") for item in folder.iterdir() if item.name.endswith(".py"))
    if name not in found:
        raise ConfigError(f"there is no packaged round loop {name!r}; there is {', '.join(found)}")
    return (folder / f"{name}.py").read_text("utf-8"), f"sojourn_policies/programs/{name}.py"
