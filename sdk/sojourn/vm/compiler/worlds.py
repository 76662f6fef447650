"""The check of the two worlds, over all modules of a program: what calls by name lead to."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from sojourn.vm.compiler.emitter import ProgramTables, Site
from sojourn.vm.compiler.refusals import refuse
from sojourn.vm.effects import EFFECTS

__all__ = ["check_worlds"]


def check_worlds(tables: ProgramTables) -> None:
    """Refuse public effects inside of private regions, and reading of private rows outside of them.

    Raises:
        ProgramRefused: says where the effect stands, and where the region begins.
    """
    regions: dict[ast.FunctionDef, tuple[str, Site]] = {}
    for file, sites in tables.sites.values():
        for site in sites:
            if site.kind == "private" and site.function is not None:
                regions.setdefault(site.function, (file, site))
    seen: set[ast.AST] = set()  # by an earlier region: what is in there was looked at
    for start, (home, origin) in regions.items():
        line = getattr(origin.node, "lineno", 0)
        for file, site in _reached(tables, [start], seen):
            of = "" if file == home else f" of {home}"
            where = f"inside of the private region that private({origin.target}, ...) starts in line {line}{of}"
            _inside(file, site, where)
    entries: list[ast.AST] = [signature.node for signature in tables.signatures if signature.entry]
    for file, site in _reached(tables, entries, set()):
        if site.kind == "effect" and "public" not in EFFECTS[site.target].worlds:
            raise refuse(
                file,
                site.node,
                f"{site.target} reads private data in the public world",
                "write it in a function and start that with private(f, ..., fuel=..., memory=...)",
            )


def _inside(file: str, site: Site, where: str) -> None:
    if site.kind == "effect" and "region" not in EFFECTS[site.target].worlds:
        instead = (
            "write return here, and the release after private(...), on its result"
            if EFFECTS[site.target].releases
            else "write it before private(...), and pass the result as an argument"
        )
        raise refuse(file, site.node, f"{site.target} {where}", instead)


def _reached(tables: ProgramTables, starts: Sequence[ast.AST], seen: set[ast.AST]) -> list[tuple[str, Site]]:
    """The sites of the functions that calls by name lead to, with their files, but for those seen before."""
    work, result = [start for start in starts if start not in seen], []
    seen.update(work)
    while work:
        file, sites = tables.sites.get(work.pop(), ("", []))
        for site in sites:
            result.append((file, site))
            if site.kind == "call" and site.function is not None and site.function not in seen:
                seen.add(site.function)
                work.append(site.function)
    return result
