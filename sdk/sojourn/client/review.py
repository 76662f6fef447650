"""Does a job's code do what the job says? Asked of the compiled programs, before anything is signed.

Rules of this module:

* Every complaint is a `UsageError` with file and line, what was found, and what to write.
* Only what is certain is refused: an argument that is no literal is taken to be right. Hosts check again at run time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sojourn.contracts import Phase, Plan, ReleaseSpec, Scalar
from sojourn.errors import UsageError
from sojourn.submissions import AGENT_EFFECTS, ROUNDS_EFFECTS
from sojourn.vm import VerifiedProgram
from sojourn.vm.places import line_text
from sojourn.vm.regions import Argument, RegionSite, region_sites
from sojourn.vm.sites import EffectSite, effect_sites

__all__ = ["Code", "review_limits", "review_phase", "review_rounds", "streams_of"]


@dataclass(frozen=True, slots=True)
class Code:
    """A verified program and the name of its source, for messages."""

    program: VerifiedProgram
    file: str

    def sites(self, entry: str, what: str) -> tuple[EffectSite, ...]:
        """Where `entry` makes effects.

        Raises:
            UsageError: there is no such entry.
        """
        if entry not in self.program.entries:
            entries = ", ".join(self.program.entries)
            raise UsageError(
                f"{what} starts {entry!r}, which is no @continuation of {self.file}; write one of {entries}"
            )
        return effect_sites(self.program, entry)

    def where(self, place: int) -> str:
        """`program.py:12`."""
        return self.program.where(place, self.file)

    def at(self, site: EffectSite) -> str:
        """`program.py:12: release.count`."""
        return f"{self.where(site.line)}: {site.effect}"


def review_phase(code: Code, phase: Phase, plan: Plan) -> None:
    """Hold an agent entry against its phase and the plan.

    Raises:
        UsageError: see the module.
    """
    what = f"phase {phase.name!r}"
    sites = code.sites(phase.entry, what)
    for site in sites:
        if site.effect not in AGENT_EFFECTS:
            raise UsageError(f"{code.at(site)} is an effect of rounds; {what} runs on an agent: move it to the rounds")
        if site.effect == "gpu.run":
            _review_graph(code, site, plan)
        elif site.effect.startswith("release."):
            _review_release(code, site, phase)
    _review_promises(code, sites, phase)


def _review_graph(code: Code, site: EffectSite, plan: Plan) -> None:
    if not plan.graphs:
        raise UsageError(f"{code.at(site)} needs a graph, and this job has none; pass plan= and graphs=")
    name = site.constants.get("name")
    if not isinstance(name, str):
        return
    graph = next((graph for graph in plan.graphs if graph.name == name), None)
    if graph is None:
        have = ", ".join(repr(graph.name) for graph in plan.graphs)
        raise UsageError(f"{code.at(site)} runs graph {name!r}, the plan has {have}")
    given, wanted = set(site.names) - {"name"}, {port.name for port in graph.inputs}
    if given != wanted:
        raise UsageError(
            f"{code.at(site)} gives graph {name!r} the inputs {_listed(given)}; it takes {_listed(wanted)}"
        )


def _review_release(code: Code, site: EffectSite, phase: Phase) -> None:
    kind = site.effect.removeprefix("release.")
    name = "update" if kind == "update" else site.constants.get("name")
    same = [spec for spec in phase.answer if spec.kind == kind and name in {None, spec.name}]
    if not same:
        shown = "" if name is None or kind == "update" else f" {name!r}"
        raise UsageError(
            f"{code.at(site)}{shown} is not in the answer of phase {phase.name!r}, which holds {_answer(phase)}; "
            f"add {_suggestion(kind, site)}"
        )
    if name is None or kind == "update":
        return
    spec = same[0]
    for bound in ("low", "high"):
        given, stated = site.constants.get(bound), float(getattr(spec, bound))
        if bound in site.names and isinstance(given, int | float) and float(given) != stated:
            raise UsageError(
                f"{code.at(site)} {name!r} says {bound}={given}, the answer of phase {phase.name!r} says "
                f"{bound}={stated}; write the same number in both"
            )


def _review_promises(code: Code, sites: Sequence[EffectSite], phase: Phase) -> None:
    """Everything that the answer holds is released, and in that order where the order can be seen."""
    made = [site for site in sites if site.effect.startswith("release.")]
    for spec in phase.answer:
        if not any(_fits(site, spec) for site in made):
            raise UsageError(
                f"the answer of phase {phase.name!r} holds {_title(spec)}, which {phase.entry!r} of {code.file} never "
                f"releases; write release.{spec.kind}(...) there, or take it out of the answer"
            )
    names = [_name(site) for site in made]
    stated = [(spec.kind, spec.name) for spec in phase.answer]
    one_function = {site.function for site in made} == {phase.entry}
    if one_function and None not in names and len(set(names)) == len(names) and names != stated:
        order = ", ".join(f"{kind} {name!r}" for kind, name in filter(None, names))
        raise UsageError(
            f"{phase.entry!r} of {code.file} releases {order}, the answer of phase {phase.name!r} holds "
            f"{_answer(phase)}; write both in one order"
        )


def review_limits(code: Code, entry: str, args: Mapping[str, Scalar], fuel: int, memory: int) -> None:
    """Hold what private regions take against what a run of `entry` has.

    Args:
        code: the agent program.
        entry: that a phase starts.
        args: of the job.
        fuel: of the job, instructions.
        memory: of the job, bytes.

    Raises:
        UsageError: a region, or all that every run starts together, takes more than the whole run has, or a limit
            that is no number of the job.
    """
    sites = region_sites(code.program, entry)
    for site in sites:
        for name, whole in (("fuel", fuel), ("memory", memory)):
            if name in site.limits:
                _review_limit(code, site, name, args, whole)
    own = [site for site in sites if site.always and site.function == entry and "fuel" in site.limits]
    _review_sum(code, own, args, fuel)


def _review_sum(code: Code, sites: Sequence[RegionSite], args: Mapping[str, Scalar], whole: int) -> None:
    """Fuel of regions that every run starts adds up; memory comes back with the boxes."""
    limits = [site.limits["fuel"] for site in sites]
    taken = [args[limit.key] if isinstance(limit, Argument) else limit for limit in limits]
    fuel = [limit for limit in taken if type(limit) is int]
    if len(fuel) == len(sites) > 1 and sum(fuel) >= whole > 0:
        lines = ", ".join(line_text(site.line, code.program.program.modules).removeprefix("line ") for site in sites)
        raise UsageError(
            f"{code.file}: the private regions in lines {lines} take fuel={' + '.join(map(str, fuel))} = {sum(fuel)} "
            f"together, which is charged to the run's own, and the job gives a run fuel={whole} in all; write smaller "
            "ones there, or pass a larger fuel= to build_submission"
        )


def _review_limit(code: Code, site: RegionSite, name: str, args: Mapping[str, Scalar], whole: int) -> None:
    limit = site.limits[name]
    where = f"{code.where(site.line)}: private({site.starts or 'f'}, ...)"
    lower = f"write a smaller {name}= there"
    if isinstance(limit, Argument):
        key = limit.key
        if key not in args:
            why = f"takes {name}= from args[{key!r}], which the job lacks"
            raise UsageError(f"{where} {why}; pass args={{{key!r}: ...}}")
        limit, where, lower = args[key], f"{where} takes {name}= from args[{key!r}], and that", f"lower args[{key!r}]"
    if type(limit) is not int or limit < 1:
        raise UsageError(f"{where} has {name}={limit!r}; write an int of 1 or more")
    if limit >= whole > 0:
        raise UsageError(
            f"{where} has {name}={limit}, which is charged to the run's own, and the job gives a run {name}={whole} in "
            f"all; {lower}, or pass a larger {name}= to build_submission"
        )


def review_rounds(code: Code, entry: str, phases: Sequence[Phase]) -> None:
    """Hold the rounds program against the phases.

    Raises:
        UsageError: see the module.
    """
    sites = code.sites(entry, "the job's rounds")
    asked: set[str | None] = set()
    for site in sites:
        if site.effect not in ROUNDS_EFFECTS:
            raise UsageError(
                f"{code.at(site)} is an effect of agents, and rounds run on a coordinator; move it to an entry"
            )
        if site.effect == "fleet.ask":
            name = site.constants.get("phase")
            asked.add(name if isinstance(name, str) else None)
            if isinstance(name, str) and name not in {phase.name for phase in phases}:
                have = ", ".join(repr(phase.name) for phase in phases)
                raise UsageError(
                    f"{code.at(site)} asks for phase {name!r}, the job has {have}; write one of these, or pass "
                    "rounds= with a round loop of your own"
                )
        if site.effect == "updates.aggregate" and not any(_has_update(phase) for phase in phases):
            raise UsageError(
                f"{code.at(site)} folds updates, and no phase of this job answers with one; add update(...) to an "
                "answer, or pass rounds= with a program of your own that does not aggregate"
            )
    for phase in phases:
        if None not in asked and phase.name not in asked:
            raise UsageError(f"phase {phase.name!r} is never asked for by {entry!r} of {code.file}; take it out")


def streams_of(code: Code, entries: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Streams that entries open, with the fields they read.

    Raises:
        UsageError: a name or a field is not a literal in the code.
    """
    found: dict[str, set[str]] = {}
    for entry in entries:
        for site in code.sites(entry, "a phase"):
            if site.effect != "stream.open":
                continue
            name, fields = site.constants.get("name"), site.constants.get("fields")
            if not isinstance(name, str) or not isinstance(fields, tuple):
                raise UsageError(f"{code.at(site)} does not name its stream and fields as literals; pass streams=")
            found.setdefault(name, set()).update(str(field) for field in fields)
    return {name: tuple(sorted(fields)) for name, fields in sorted(found.items())}


def _has_update(phase: Phase) -> bool:
    return any(spec.kind == "update" for spec in phase.answer)


def _name(site: EffectSite) -> tuple[str, str] | None:
    kind = site.effect.removeprefix("release.")
    name = "update" if kind == "update" else site.constants.get("name")
    return (kind, name) if isinstance(name, str) else None


def _fits(site: EffectSite, spec: ReleaseSpec) -> bool:
    name = _name(site)
    return site.effect == f"release.{spec.kind}" and name in {None, (spec.kind, spec.name)}


def _title(spec: ReleaseSpec) -> str:
    return "an update" if spec.kind == "update" else f"{spec.kind} {spec.name!r}"


def _answer(phase: Phase) -> str:
    return ", ".join(_title(spec) for spec in phase.answer) or "nothing"


def _suggestion(kind: str, site: EffectSite) -> str:
    """What to add to an answer for a release, as Python."""
    if kind == "update":
        return "update(clip=..., max_weight=...)"

    def parts() -> Iterator[str]:
        yield repr(site.constants.get("name", "..."))
        for bound in ("low", "high"):
            if bound in site.names:
                yield f"{bound}={site.constants.get(bound, '...')}"

    return f"{'total' if kind == 'sum' else kind}({', '.join(parts())})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
