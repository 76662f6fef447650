"""Checks of the product, taken out one at a time. A test that stands for a check has to fail without it.

Rules:

* A mutant takes out one check and nothing else: it makes a function that judges pass everything, or cuts the judging
  line out of a function's source. Nothing else of the product changes.
* A mutant that does not find its check raises `Moved`, which fails the table and says what to look at.
"""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

__all__ = ["MUTANTS", "Moved", "Mutant"]

Mutant = Callable[[pytest.MonkeyPatch], None]


class Moved(Exception):
    """The check is not where its mutant looks for it: see where it went, and whether it is still there."""


MUTANTS: dict[str, Mutant] = {}


def mutant(function: Mutant) -> Mutant:
    """Register a mutant under its function's name, written with spaces."""
    MUTANTS[function.__name__.replace("_", " ")] = function
    return function


def passes(*_: Any, **__: Any) -> None:
    """A check that lets everything through."""


def _resolve(path: str) -> tuple[Any, str, Any]:
    """`(owner, name, object)` of a dotted path."""
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        try:
            owner = __import__(module, fromlist=["_"])
        except ImportError:
            continue
        try:
            for part in parts[length:-1]:
                owner = getattr(owner, part)
            return owner, parts[-1], inspect.getattr_static(owner, parts[-1])
        except AttributeError:
            break
    raise Moved(path)


def everywhere(patch: pytest.MonkeyPatch, path: str, value: Any) -> None:
    """Replace a function under its name in every module of ours, tests too, that has imported it."""
    _, name, original = _resolve(path)
    for known, module in list(sys.modules.items()):
        if known.startswith(("sojourn", "tests.", "test_", "security_")) and vars(module).get(name) is original:
            patch.setattr(module, name, value)


def cut(patch: pytest.MonkeyPatch, path: str, *changes: tuple[str, str]) -> None:
    """Replace text in the source of a function or method, which is then compiled again in its module."""
    owner, name, original = _resolve(path)
    function = original.__func__ if isinstance(original, classmethod | staticmethod) else original
    text = textwrap.dedent(inspect.getsource(function))
    for old, new in changes:
        if text.count(old) != 1:
            raise Moved(f"{path}: {old!r} stands there {text.count(old)} times")
        text = text.replace(old, new)
    text = "\n" * (function.__code__.co_firstlineno - 1) + text
    flags = __future__.annotations.compiler_flag
    code = compile(text, inspect.getfile(function), "exec", flags, dont_inherit=True)
    names: dict[str, Any] = {}
    exec(code, function.__globals__, names)
    (made,) = names.values()
    if isinstance(owner, type):
        patch.setattr(owner, name, made)
    else:
        everywhere(patch, path, made)


# Programs, plans, policies


@mutant
def classes_are_compiled_as_nothing(patch: pytest.MonkeyPatch) -> None:
    import ast  # noqa: PLC0415

    from sojourn.vm.compiler import statements  # noqa: PLC0415

    patch.setitem(statements._HANDLERS, ast.ClassDef, passes)


@mutant
def manifest_and_graph_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sojourn.interpreters.manifest._compare", passes)


@mutant
def unknown_keys_of_a_policy_are_ignored(patch: pytest.MonkeyPatch) -> None:
    from sojourn.privacy.policy import AdmitRule, OwnerPolicy, ReleaseRule  # noqa: PLC0415

    validate = OwnerPolicy.model_validate

    def known(content: Any, model: Any, inside: dict[str, Any]) -> Any:
        kept = {key: value for key, value in content.items() if key in model.model_fields}
        for key, (part, deeper) in inside.items():
            kept[key] = [known(one, part, deeper) for one in kept.get(key, ())]
        return kept

    def lenient(content: Any) -> Any:
        return validate(known(content, OwnerPolicy, {"admit": (AdmitRule, {"release": (ReleaseRule, {})})}))

    patch.setattr(OwnerPolicy, "model_validate", lenient)


@mutant
def a_policy_may_admit_nothing(patch: pytest.MonkeyPatch) -> None:
    from sojourn.privacy.policy import OwnerPolicy  # noqa: PLC0415

    validate = OwnerPolicy.model_validate

    def lenient(content: Any) -> Any:
        if content.get("admit") and all(rule.get("release") for rule in content["admit"]):
            return validate(content)
        return OwnerPolicy.model_construct(version=1, owner=content["owner"], admit=())

    patch.setattr(OwnerPolicy, "model_validate", lenient)


@mutant
def the_pin_of_a_plan_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    cut(patch, "sojourn.privacy.guard._objections", ("if rule.plans != ANY_PLAN and", "if False and"))


# Orders


@mutant
def signatures_of_documents_are_not_verified(patch: pytest.MonkeyPatch) -> None:
    everywhere(patch, "sojourn.crypto.documents.verify_signed", passes)


@mutant
def signatures_of_envelopes_are_not_verified(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sojourn.crypto.envelope.verify_signature", passes)


@mutant
def times_of_documents_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sojourn.crypto.trust._check_times", passes)


@mutant
def an_orders_recipient_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    cut(patch, "sojourn.crypto.trust.TrustedSet.verify_order", ("if order.recipient != me.key:", "if False:"))


@mutant
def an_envelopes_recipient_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    cut(patch, "sojourn.crypto.envelope.open_envelope", ("if header.recipient != me.key:", "if False:"))


@mutant
def seen_orders_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sojourn.crypto.replay.ReplayGuard.check", passes)
    patch.setattr("sojourn.agent.admission.AdmissionDesk.check_new", passes)


@mutant
def any_signer_is_a_coordinator(patch: pytest.MonkeyPatch) -> None:
    cut(
        patch,
        "sojourn.crypto.trust.TrustedSet._party",
        ("if entry is None or entry.role != role:", "if entry is None:"),
    )


@mutant
def any_authors_program_is_the_jobs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sojourn.crypto.trust._check_author", passes)
    cut(
        patch,
        "sojourn.crypto.trust.TrustedSet._named_program",
        ("if digest(program.value) != named:", "if False:"),
    )


@mutant
def an_order_may_start_any_phase(patch: pytest.MonkeyPatch) -> None:
    cut(
        patch,
        "sojourn.crypto.trust.TrustedSet.verify_order",
        ("if phase.name == order.phase), None)", "), None)"),
    )


# Enrolment


@mutant
def a_token_may_be_used_again(patch: pytest.MonkeyPatch) -> None:
    cut(patch, "sojourn.registrar.state.RegistrarState.enrol", ("if used_ms is not None:", "if False:"))


# Streams


@mutant
def fields_of_a_stream_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sojourn.streams.table.TableStream.check_fields", lambda _, fields: list(fields))


# Answers


@mutant
def shapes_of_an_update_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    cut(
        patch,
        "sojourn.datoms.updates.UpdateReader._start",
        ("if found != self._manifest:", "if False:"),
        ("if bytes(datom) != self._first:", "if False:"),
    )
    cut(
        patch,
        "sojourn.datoms.updates.UpdateReader._block",
        ("if (block.dtype, block.shape) != (spec.dtype, spec.block_shape(walk.position)):", "if False:"),
    )


@mutant
def elements_may_be_beyond_their_bound(patch: pytest.MonkeyPatch) -> None:
    cut(
        patch,
        "sojourn.datoms.updates.UpdateReader._bounded",
        ("if int(values.min()) < -self._spec.bound or int(values.max()) > self._spec.bound:", "if False:"),
    )


@mutant
def an_update_may_be_longer_than_its_clip(patch: pytest.MonkeyPatch) -> None:
    cut(
        patch,
        "sojourn.datoms.updates.UpdateReader._weigh",
        ("if math.sqrt(self._squares) > (reach if weight else 0.0):", "if False:"),
    )


@mutant
def a_weight_may_be_any_number(patch: pytest.MonkeyPatch) -> None:
    cut(
        patch,
        "sojourn.datoms.updates.UpdateReader._weigh",
        ("if not 0 <= weight <= self._spec.max_weight:", "if False:"),
    )


@mutant
def blocks_out_of_turn_are_dropped_without_a_word(patch: pytest.MonkeyPatch) -> None:
    from sojourn.datoms.updates import UpdateReader  # noqa: PLC0415
    from sojourn.errors import ContributionRefused  # noqa: PLC0415

    take = UpdateReader._take

    def lenient(reader: Any, datom: Any) -> Any:
        try:
            return take(reader, datom)
        except ContributionRefused as problem:
            if problem.reason != "blocks":
                raise
            return None

    patch.setattr(UpdateReader, "_take", lenient)


@mutant
def another_answer_is_taken_for_the_same(patch: pytest.MonkeyPatch) -> None:
    cut(
        patch,
        "sojourn_coordinator.rounds.phase.PhaseLedger.judge",
        ("return Again() if stored == answer else Conflict()", "return Again()"),
    )


@mutant
def a_late_answer_is_told_that_it_counts(patch: pytest.MonkeyPatch) -> None:
    from sojourn.wire import Committed  # noqa: PLC0415

    patch.setattr("sojourn_coordinator.answers.Closed", Committed)


@mutant
def misbehaviour_is_not_recorded(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> None:
        """No entry."""

    patch.setattr("sojourn_coordinator.desk.PhaseDesk.refuse", nothing)


@mutant
def the_root_of_an_update_is_not_compared(patch: pytest.MonkeyPatch) -> None:
    cut(patch, "sojourn_coordinator.answers.UpdateSink._complete", ("if root != stated:", "if False:"))


@mutant
def the_epoch_of_an_answer_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    cut(patch, "sojourn_coordinator.rounds.statement.check_statement", ("if answer.epoch != epoch:", "if False:"))


# Ports, folders, Ctrl-C


@mutant
def a_port_that_is_taken_has_no_name(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("errno.EADDRINUSE", -1)


@mutant
def the_version_of_a_folder_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sojourn.streams.folder._check_version", passes)


@mutant
def a_folders_lock_is_not_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("fcntl.flock", passes)


@mutant
def an_interrupt_is_an_error_like_any_other(patch: pytest.MonkeyPatch) -> None:
    from sojourn.console import EXIT_ERROR  # noqa: PLC0415

    patch.setattr("sojourn.console.EXIT_INTERRUPTED", EXIT_ERROR)


# The machine


@mutant
def boxes_are_values_like_any_other(patch: pytest.MonkeyPatch) -> None:
    everywhere(patch, "sojourn.vm.faults.refuse_box", passes)


@mutant
def what_a_region_gives_is_public(patch: pytest.MonkeyPatch) -> None:
    from sojourn.labels import PUBLIC, Label  # noqa: PLC0415

    patch.setattr(Label, "join_all", lambda _: PUBLIC)


@mutant
def a_region_may_make_any_effect(patch: pytest.MonkeyPatch) -> None:
    import dataclasses  # noqa: PLC0415

    from sojourn.vm import EFFECTS  # noqa: PLC0415

    for name, spec in list(EFFECTS.items()):
        patch.setitem(EFFECTS, name, dataclasses.replace(spec, worlds=frozenset(("public", "region"))))


@mutant
def a_region_costs_what_it_uses(patch: pytest.MonkeyPatch) -> None:
    cut(
        patch,
        "sojourn.vm.machine.Machine._leave",
        ("run = self.runs[-1]", "run = self.runs[-1]; run.fuel += region.fuel"),
    )


@mutant
def children_of_all_operations_are_one_run(patch: pytest.MonkeyPatch) -> None:
    from sojourn.codec import digest_parts  # noqa: PLC0415

    patch.setattr("sojourn.vm.machine.child_run", lambda parent, _operation, _index: digest_parts("c", parent))


@mutant
def a_journal_of_any_order_is_gone_on_from(patch: pytest.MonkeyPatch) -> None:
    cut(patch, "sojourn.agent.journal.Journal.start", ("if begin != self.begin:", "if self.begin is None:"))


@mutant
def an_epoch_that_was_taken_is_taken_again(patch: pytest.MonkeyPatch) -> None:
    cut(
        patch,
        "sojourn.agent.admission.AdmissionDesk.check_new",
        ("if any(row.epoch >= order.order.epoch for row in known):", "if False:"),
    )


@mutant
def boxes_and_labels_of_a_snapshot_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sojourn.vm.restore._Loader._worlds", passes)


@mutant
def releases_are_recomputed_like_pure_effects(patch: pytest.MonkeyPatch) -> None:
    import dataclasses  # noqa: PLC0415

    from sojourn.vm import EFFECTS  # noqa: PLC0415

    for name in [name for name in EFFECTS if name.startswith("release.")]:
        patch.setitem(EFFECTS, name, dataclasses.replace(EFFECTS[name], durability="pure"))


# The coordinator


@mutant
def a_phase_is_opened_before_it_is_committed(patch: pytest.MonkeyPatch) -> None:
    cut(patch, "sojourn_coordinator.effects.RoundEffects._ask", ("await self._flush()\n", "pass\n"))


@mutant
def rows_do_not_wait_for_their_bytes(patch: pytest.MonkeyPatch) -> None:
    def nothing(_: Any) -> None:
        """No sync."""

    patch.setattr("sojourn_coordinator.store.objects.ObjectLog.sync", nothing)


@mutant
def an_answer_is_acknowledged_before_it_is_committed(patch: pytest.MonkeyPatch) -> None:
    import asyncio  # noqa: PLC0415

    from sojourn_coordinator.desk import PhaseDesk  # noqa: PLC0415

    commit, started = PhaseDesk._commit, set()

    async def later(*args: Any) -> None:
        task = asyncio.create_task(commit(*args))
        started.add(task)
        task.add_done_callback(started.discard)

    patch.setattr(PhaseDesk, "_commit", later)


@mutant
def an_answer_is_committed_in_pieces(patch: pytest.MonkeyPatch) -> None:
    """Each statement is its own transaction: what came before a failure stays."""
    from sojourn_coordinator import desk  # noqa: PLC0415

    append = desk.append_entry

    def and_commit(connection: Any, *args: Any, **more: Any) -> Any:
        entry = append(connection, *args, **more)
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return entry

    patch.setattr(desk, "append_entry", and_commit)


@mutant
def bodies_are_sealed_again_for_each_round(patch: pytest.MonkeyPatch) -> None:
    cut(patch, "sojourn_coordinator.opening.PhaseOpener._seal_bundle", ("if self._bundle is None:", "if True:"))


@mutant
def updates_are_summed_in_single_precision(patch: pytest.MonkeyPatch) -> None:
    import numpy as np  # noqa: PLC0415
    from sojourn_policies.fedavg import Fold  # noqa: PLC0415

    init = Fold.__init__

    def single(fold: Any, *args: Any, **more: Any) -> None:
        init(fold, *args, **more)
        fold._sums = {name: total.astype(np.float32) for name, total in fold._sums.items()}

    def add(fold: Any, tensor: str, start: int, values: Any) -> None:
        part = fold._sums[tensor][start : start + values.size]
        np.add(part, values.reshape(-1), out=part, casting="unsafe")

    patch.setattr(Fold, "__init__", single)
    patch.setattr(Fold, "add_block", add)


# Encodings and suites


@mutant
def any_suite_is_known(patch: pytest.MonkeyPatch) -> None:
    everywhere(patch, "sojourn.crypto.suite.check_suite", passes)


@mutant
def any_version_is_known(patch: pytest.MonkeyPatch) -> None:
    cut(
        patch,
        "sojourn.codec.records.decode",
        ("if data[:HEADER_BYTES] != _header(cls):", "if data[:4] != _header(cls)[:4]:"),
    )
