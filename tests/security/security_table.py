"""The table of checks: every item of 'Bad input' and of 'What must be laid right now', the tests that stand for it, and
the mutants (`security_mutants`) without whose check those tests fail.

Rules:

* `ISSUE` is the issue's own text. The items of a section, in their order, are all of it but the joints between them, so
  that none can be forgotten.
* A row without a mutant says in `why` what shows that its test can fail.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ISSUE", "TABLE", "Row", "files", "markdown", "pairs"]

ISSUE = {
    "Bad input": (
        "A program outside the subset (file, line, what to write instead); a plan whose graph does not match its "
        "manifest; a tampered, expired, replayed, wrongly addressed or unsigned order; an enrolment token used twice; "
        "a policy file with an unknown key or that admits nothing; a stream that lacks a field the program asks for; "
        "an agent that answers with blocks of the wrong shape, out of bounds, or too many, or twice, or after the "
        "round closed; a port in use; a state folder of a newer version or in use by another process; Ctrl-C anywhere "
        "(state intact, exit code 130)."
    ),
    "What must be laid right now": (
        "Boxes, private regions, and run / operation / epoch identity are in the formats of program, snapshot, journal "
        "and order, and enforced, however few opcodes exist. Effects declare their durability class. `fleet.ask` has "
        "typed phases over a participant set that is frozen in a transaction. Updates are the integer blocks of "
        "DESIGN.md section 8, folded exactly, so that order of arrival does not change a bit. Coordinator storage "
        "follows DESIGN.md section 8's commit rule (bytes first, one transaction, acknowledge after). Bodies are "
        "sealed once and the key wrapped for each recipient. All verification of untrusted bytes in one place per "
        "kind, pure; vm, labels, wire and round logic pure; the import contracts in CI from the first commit. Suite "
        "ids and versions everywhere (hybrid signatures come later under a new id; X-Wing HPKE now). SHA-256 and "
        "AES-256-GCM, nothing else yet."
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One item.

    Attributes:
        section: of the issue.
        item: its words.
        tests: node ids; those with parameters name the function or one case.
        mutants: a check that is taken out, and the tests that fail then.
        why: for a row without mutants.
    """

    section: str
    item: str
    tests: tuple[str, ...]
    mutants: dict[str, tuple[str, ...]]
    why: str = ""


BAD, LAID = ISSUE

SECURITY = "tests/security"
DOOR = f"{SECURITY}/test_door.py::"
INPUT = f"{SECURITY}/test_bad_input.py::"
HOSTILE = f"{SECURITY}/test_hostile_agent.py::"
PROCESSES = f"{SECURITY}/test_processes.py::"
THERE = f"{SECURITY}/test_laid.py::"
SOURCE = f"{SECURITY}/test_architecture.py::"
ORDERS = "tests/crypto/test_trust_order.py::"
UPDATES = "tests/datoms/test_updates.py::test_every_misbehaviour_is_refused_with_its_reason"
MISBEHAVIOUR = f"{HOSTILE}test_misbehaviour_is_refused_recorded_and_harmless"
SECRETS = "tests/vm/test_secrets.py::test_refused_and_the_same_for_every_secret"
REGIONS = "tests/vm/test_regions.py::"
COMPILER = "tests/vm/test_compiler.py::"

TABLE: tuple[Row, ...] = (
    Row(
        BAD,
        "A program outside the subset (file, line, what to write instead)",
        (
            f"{INPUT}test_a_program_outside_the_subset_names_file_line_and_what_to_write",
            f"{COMPILER}test_refused_in_a_function",
            f"{COMPILER}test_refused_in_a_module",
            f"{COMPILER}test_every_refusal_says_what_to_write",
        ),
        {
            "classes are compiled as nothing": (
                f"{INPUT}test_a_program_outside_the_subset_names_file_line_and_what_to_write",
            ),
        },
    ),
    Row(
        BAD,
        "a plan whose graph does not match its manifest",
        (
            f"{INPUT}test_a_mismatched_plan_is_refused_at_submission",
            f"{INPUT}test_a_mismatched_plan_is_refused_by_the_agent_too",
            "tests/interpreters/test_manifest.py::test_inputs",
        ),
        {
            "manifest and graph are not compared": (
                f"{INPUT}test_a_mismatched_plan_is_refused_at_submission",
                f"{INPUT}test_a_mismatched_plan_is_refused_by_the_agent_too",
            ),
        },
    ),
    Row(
        BAD,
        "a tampered",
        (
            f"{DOOR}test_a_tampered_order",
            f"{DOOR}test_altered_orders_are_declined_and_the_good_one_runs",
            f"{DOOR}test_each_byte_of_an_envelope",
            f"{DOOR}test_each_byte_of_an_order_that_is_sealed_again",
            f"{DOOR}test_each_byte_of_an_order_that_is_signed_and_sealed_again",
            f"{DOOR}test_each_byte_of_the_job_fails_by_the_authors_signature",
            f"{DOOR}test_each_byte_of_program_and_plan_fails_by_the_authors_signature",
            f"{DOOR}test_each_byte_of_a_graph_fails_by_its_pin",
            f"{DOOR}test_a_program_that_the_coordinator_put_in_its_place",
            f"{ORDERS}test_each_byte_of_a_sent_order_counts",
            f"{ORDERS}test_each_byte_of_an_opened_order_counts",
            f"{ORDERS}test_each_byte_of_the_job_counts_when_the_coordinator_signs_again",
            f"{ORDERS}test_each_byte_of_program_plan_and_graph_counts",
        ),
        {
            "signatures of documents are not verified": (
                f"{DOOR}test_a_tampered_order",
                f"{DOOR}test_each_byte_of_an_order_that_is_sealed_again",
                f"{DOOR}test_each_byte_of_the_job_fails_by_the_authors_signature",
                f"{DOOR}test_each_byte_of_program_and_plan_fails_by_the_authors_signature[program]",
                f"{ORDERS}test_each_byte_of_an_opened_order_counts",
            ),
            "signatures of envelopes are not verified": (
                f"{DOOR}test_each_byte_of_an_envelope",
                f"{ORDERS}test_each_byte_of_a_sent_order_counts",
            ),
        },
    ),
    Row(
        BAD,
        "expired",
        (
            f"{DOOR}test_an_expired_order",
            f"{DOOR}test_an_order_from_the_future",
            f"{ORDERS}test_times_of_orders",
            f"{ORDERS}test_the_job_inside_has_times_too",
        ),
        {
            "times of documents are not looked at": (
                f"{DOOR}test_an_expired_order",
                f"{DOOR}test_an_order_from_the_future",
            ),
        },
    ),
    Row(
        BAD,
        "replayed",
        (
            f"{DOOR}test_a_replayed_order",
            "tests/crypto/test_replay.py::test_a_seen_order_is_refused_also_after_a_restart",
            "tests/crypto/test_replay.py::test_one_sequence_is_one_order",
            "tests/agent/test_runtime.py::test_an_order_that_was_seen_is_refused_without_harm",
        ),
        {
            "seen orders are not remembered": (
                f"{DOOR}test_a_replayed_order",
                "tests/crypto/test_replay.py::test_a_seen_order_is_refused_also_after_a_restart",
            ),
        },
    ),
    Row(
        BAD,
        "wrongly addressed",
        (
            f"{DOOR}test_an_order_addressed_to_another_agent",
            f"{DOOR}test_an_envelope_addressed_to_another_agent",
            f"{ORDERS}test_an_order_names_its_signer_and_its_recipient",
        ),
        {
            "an orders recipient is not looked at": (f"{DOOR}test_an_order_addressed_to_another_agent",),
            "an envelopes recipient is not looked at": (f"{DOOR}test_an_envelope_addressed_to_another_agent",),
        },
    ),
    Row(
        BAD,
        "unsigned order",
        (
            f"{DOOR}test_an_unsigned_order",
            f"{DOOR}test_an_order_signed_by_somebody_who_is_no_coordinator",
            f"{DOOR}test_a_job_that_the_coordinator_signed_itself",
            f"{ORDERS}test_unsigned_is_refused",
        ),
        {
            "signatures of documents are not verified": (
                f"{DOOR}test_an_unsigned_order",
                f"{ORDERS}test_unsigned_is_refused",
            ),
            "any signer is a coordinator": (f"{DOOR}test_an_order_signed_by_somebody_who_is_no_coordinator",),
            "any authors program is the jobs": (f"{ORDERS}test_the_job_has_one_author",),
        },
    ),
    Row(
        BAD,
        "an enrolment token used twice",
        (
            "tests/registrar/test_enrolment.py::test_a_token_used_twice_gets_a_clear_message",
            "tests/registrar/test_state.py::test_a_token_used_twice_is_refused",
            "tests/registrar/test_state.py::test_two_at_once_get_one_enrolment",
        ),
        {
            "a token may be used again": (
                "tests/registrar/test_enrolment.py::test_a_token_used_twice_gets_a_clear_message",
                "tests/registrar/test_state.py::test_a_token_used_twice_is_refused",
            ),
        },
    ),
    Row(
        BAD,
        "a policy file with an unknown key",
        (
            f"{INPUT}test_a_policy_file_that_is_wrong_is_said_before_anything_runs[unknown key]",
            "tests/privacy/test_policy.py::test_a_wrong_file_names_the_key_what_was_found_and_what_is_allowed",
        ),
        {
            "unknown keys of a policy are ignored": (
                f"{INPUT}test_a_policy_file_that_is_wrong_is_said_before_anything_runs[unknown key]",
            ),
        },
    ),
    Row(
        BAD,
        "or that admits nothing",
        (
            f"{INPUT}test_a_policy_file_that_is_wrong_is_said_before_anything_runs[admits nothing]",
            f"{INPUT}test_a_policy_file_that_is_wrong_is_said_before_anything_runs[releases nothing]",
            "tests/privacy/test_policy.py::test_a_file_that_admits_nothing",
        ),
        {
            "a policy may admit nothing": (
                f"{INPUT}test_a_policy_file_that_is_wrong_is_said_before_anything_runs[admits nothing]",
                f"{INPUT}test_a_policy_file_that_is_wrong_is_said_before_anything_runs[releases nothing]",
            ),
        },
    ),
    Row(
        BAD,
        "a stream that lacks a field the program asks for",
        (
            f"{INPUT}test_a_stream_without_the_field_ends_the_run_in_public_words",
            f"{INPUT}test_one_hospital_without_the_field_does_not_stop_the_others",
            "tests/agent/test_host.py::test_a_field_that_the_policy_admits_and_the_stream_lacks",
            "tests/streams/test_table.py::test_a_field_that_is_missing",
        ),
        {
            "fields of a stream are not looked at": (
                f"{INPUT}test_a_stream_without_the_field_ends_the_run_in_public_words",
                "tests/agent/test_host.py::test_a_field_that_the_policy_admits_and_the_stream_lacks",
            ),
        },
    ),
    Row(
        BAD,
        "an agent that answers with blocks of the wrong shape",
        (f"{MISBEHAVIOUR}[wrong shape]", f"{UPDATES}[wrong shape]", f"{UPDATES}[wrong dtype]"),
        {
            "shapes of an update are not compared": (f"{MISBEHAVIOUR}[wrong shape]", f"{UPDATES}[wrong shape]"),
            "misbehaviour is not recorded": (f"{MISBEHAVIOUR}[wrong shape]",),
        },
    ),
    Row(
        BAD,
        "out of bounds",
        (f"{MISBEHAVIOUR}[out of bounds]", f"{UPDATES}[too large]", f"{UPDATES}[longer than its clip]"),
        {
            "elements may be beyond their bound": (f"{MISBEHAVIOUR}[out of bounds]", f"{UPDATES}[least int32]"),
            "an update may be longer than its clip": (
                f"{MISBEHAVIOUR}[out of bounds]",
                f"{UPDATES}[longer than its clip]",
            ),
            "a weight may be any number": (f"{MISBEHAVIOUR}[out of bounds]", f"{UPDATES}[weight too large]"),
        },
    ),
    Row(
        BAD,
        "or too many",
        (
            f"{MISBEHAVIOUR}[too many or too few]",
            f"{MISBEHAVIOUR}[not what it signed]",
            f"{UPDATES}[one block more]",
            f"{UPDATES}[block after the seal]",
        ),
        {
            "blocks out of turn are dropped without a word": (
                f"{MISBEHAVIOUR}[too many or too few]",
                f"{UPDATES}[one block more]",
            ),
            "the root of an update is not compared": (f"{MISBEHAVIOUR}[not what it signed]",),
        },
    ),
    Row(
        BAD,
        "or twice",
        (f"{HOSTILE}test_an_answer_twice_counts_once_and_another_one_is_misbehaviour",),
        {
            "another answer is taken for the same": (
                f"{HOSTILE}test_an_answer_twice_counts_once_and_another_one_is_misbehaviour",
            ),
        },
    ),
    Row(
        BAD,
        "or after the round closed",
        (
            f"{HOSTILE}test_an_answer_after_the_round_closed_is_told_so_and_does_not_count",
            f"{HOSTILE}test_an_answer_past_the_deadline_does_not_count",
        ),
        {
            "a late answer is told that it counts": (
                f"{HOSTILE}test_an_answer_after_the_round_closed_is_told_so_and_does_not_count",
            ),
        },
    ),
    Row(
        BAD,
        "a port in use",
        (
            f"{PROCESSES}test_a_port_in_use_by_the_coordinators_listeners",
            f"{PROCESSES}test_a_port_in_use_by_the_registrar",
            "tests/coordinator/test_gateway.py::test_a_taken_port_is_named",
            "tests/registrar/test_enrolment.py::test_a_port_in_use_is_named",
        ),
        {
            "a port that is taken has no name": (
                f"{PROCESSES}test_a_port_in_use_by_the_coordinators_listeners[--agents]",
                f"{PROCESSES}test_a_port_in_use_by_the_coordinators_listeners[--operators]",
                f"{PROCESSES}test_a_port_in_use_by_the_registrar",
            ),
        },
    ),
    Row(
        BAD,
        "a state folder of a newer version",
        (
            f"{PROCESSES}test_an_agents_folder_of_a_newer_version",
            f"{PROCESSES}test_a_coordinators_folder_of_a_newer_version",
            "tests/streams/test_folder.py::test_folders_that_are_not_for_us_are_left_as_they_are",
            "tests/registrar/test_state.py::test_a_newer_or_foreign_database_is_refused",
        ),
        {
            "the version of a folder is not looked at": (
                f"{PROCESSES}test_an_agents_folder_of_a_newer_version",
                f"{PROCESSES}test_a_coordinators_folder_of_a_newer_version",
            ),
        },
    ),
    Row(
        BAD,
        "or in use by another process",
        (
            f"{PROCESSES}test_an_agents_folder_in_use_by_another_process",
            f"{PROCESSES}test_a_coordinators_folder_in_use_by_another_process",
            "tests/streams/test_folder.py::test_in_use_by_another_process_until_that_is_gone",
        ),
        {
            "a folders lock is not taken": (
                f"{PROCESSES}test_an_agents_folder_in_use_by_another_process",
                f"{PROCESSES}test_a_coordinators_folder_in_use_by_another_process",
            ),
        },
    ),
    Row(
        BAD,
        "Ctrl-C anywhere (state intact, exit code 130)",
        (
            f"{PROCESSES}test_ctrl_c_on_agent_coordinator_and_operator_loses_nothing",
            f"{PROCESSES}test_ctrl_c_on_the_registrar_leaves_its_tokens_good",
            f"{PROCESSES}test_ctrl_c_on_the_demo",
            f"{PROCESSES}test_ctrl_c_in_any_command",
        ),
        {
            "an interrupt is an error like any other": (
                f"{PROCESSES}test_ctrl_c_in_any_command[agent enrol]",
                f"{PROCESSES}test_ctrl_c_in_any_command[coordinator init]",
                f"{PROCESSES}test_ctrl_c_in_any_command[trust init]",
            ),
        },
    ),
    Row(
        LAID,
        "Boxes",
        (
            SECRETS,
            "tests/vm/test_snapshot.py::test_forged_states_are_refused",
            f"{THERE}test_a_box_that_is_smuggled_into_a_regions_snapshot_is_refused",
            f"{THERE}test_boxes_regions_and_identities_are_in_the_formats",
        ),
        {
            "boxes are values like any other": (
                f"{SECRETS}[test]",
                f"{SECRETS}[is_none]",
                f"{SECRETS}[list_equal]",
                f"{SECRETS}[dict_key]",
            ),
            "boxes and labels of a snapshot are not looked at": (
                f"{THERE}test_a_box_that_is_smuggled_into_a_regions_snapshot_is_refused",
            ),
        },
    ),
    Row(
        LAID,
        "private regions",
        (
            f"{REGIONS}test_charge_is_the_same_however_it_ends",
            f"{REGIONS}test_label_is_the_join_of_the_arguments",
            "tests/vm/test_verifier.py::test_public_effect_in_a_region_is_refused_without_the_compiler",
            "tests/vm/test_secrets.py::test_public_effects_in_a_region_are_refused_by_the_compiler",
            f"{THERE}test_boxes_regions_and_identities_are_in_the_formats",
        ),
        {
            "what a region gives is public": (f"{REGIONS}test_label_is_the_join_of_the_arguments",),
            "a region costs what it uses": (f"{REGIONS}test_charge_is_the_same_however_it_ends[exception]",),
            "a region may make any effect": (
                "tests/vm/test_verifier.py::test_public_effect_in_a_region_is_refused_without_the_compiler",
            ),
        },
    ),
    Row(
        LAID,
        "run / operation / epoch identity are in the formats of program, snapshot, journal and order, and enforced, "
        "however few opcodes exist",
        (
            f"{THERE}test_boxes_regions_and_identities_are_in_the_formats",
            "tests/vm/test_samples.py::test_region_effects_are_occurrences_of_a_child_run",
            "tests/contracts/test_runs.py::test_children_of_different_occurrences_differ",
            "tests/agent/test_journal.py::test_a_journal_of_another_order_is_not_gone_on_from",
            "tests/agent/test_runtime.py::test_the_same_run_under_the_same_epoch_starts_once",
            f"{DOOR}test_a_run_is_taken_once_under_each_epoch",
            f"{MISBEHAVIOUR}[not its own order]",
        ),
        {
            "children of all operations are one run": (
                "tests/vm/test_samples.py::test_region_effects_are_occurrences_of_a_child_run",
            ),
            "a journal of any order is gone on from": (
                "tests/agent/test_journal.py::test_a_journal_of_another_order_is_not_gone_on_from",
            ),
            "an epoch that was taken is taken again": (f"{DOOR}test_a_run_is_taken_once_under_each_epoch",),
            "the epoch of an answer is not looked at": (f"{MISBEHAVIOUR}[not its own order]",),
        },
    ),
    Row(
        LAID,
        "Effects declare their durability class",
        (
            f"{THERE}test_each_effect_declares_its_durability",
            "tests/agent/test_exactly_once.py::test_a_kill_between_ledger_and_journal_releases_once",
            "tests/agent/test_exactly_once.py::test_pure_effects_are_not_synced_one_by_one",
        ),
        {
            "releases are recomputed like pure effects": (f"{THERE}test_each_effect_declares_its_durability",),
        },
    ),
    Row(
        LAID,
        "`fleet.ask` has typed phases over a participant set that is frozen in a transaction",
        (
            f"{THERE}test_participants_are_frozen_when_the_phase_opens",
            f"{THERE}test_a_phase_of_another_kind_is_refused",
            f"{ORDERS}test_a_phase_that_the_job_does_not_have_is_refused",
        ),
        {
            "a phase is opened before it is committed": (f"{THERE}test_participants_are_frozen_when_the_phase_opens",),
            "an order may start any phase": (f"{ORDERS}test_a_phase_that_the_job_does_not_have_is_refused",),
        },
    ),
    Row(
        LAID,
        "Updates are the integer blocks of DESIGN.md section 8, folded exactly, so that order of arrival does not "
        "change a bit",
        (
            "tests/policies/test_fedavg.py::test_arrival_order_and_cutting_do_not_change_a_bit",
            f"{THERE}test_a_fold_is_exact_whatever_the_order",
            "tests/datoms/test_updates.py::test_folding_in_any_order_gives_the_same_bytes",
        ),
        {
            "updates are summed in single precision": (f"{THERE}test_a_fold_is_exact_whatever_the_order",),
        },
    ),
    Row(
        LAID,
        "Coordinator storage follows DESIGN.md section 8's commit rule (bytes first, one transaction, acknowledge "
        "after)",
        (
            f"{THERE}test_bytes_first_then_the_row_then_the_acknowledgement",
            f"{THERE}test_an_answer_commits_whole_or_not_at_all",
            "tests/coordinator/test_crash.py::test_every_commit_is_a_place_to_stop",
        ),
        {
            "rows do not wait for their bytes": (f"{THERE}test_bytes_first_then_the_row_then_the_acknowledgement",),
            "an answer is acknowledged before it is committed": (
                f"{THERE}test_bytes_first_then_the_row_then_the_acknowledgement",
            ),
            "an answer is committed in pieces": (f"{THERE}test_an_answer_commits_whole_or_not_at_all",),
        },
    ),
    Row(
        LAID,
        "Bodies are sealed once and the key wrapped for each recipient",
        (
            f"{THERE}test_bodies_are_sealed_once_and_their_keys_wrapped_for_each_recipient",
            "tests/agent/test_runtime.py::test_a_held_order_is_listed_and_its_stored_answer_offered_again",
            "tests/crypto/test_bodies.py::test_each_body_has_its_own_key",
        ),
        {
            "bodies are sealed again for each round": (
                f"{THERE}test_bodies_are_sealed_once_and_their_keys_wrapped_for_each_recipient",
            ),
        },
    ),
    Row(
        LAID,
        "All verification of untrusted bytes in one place per kind, pure",
        (
            f"{SOURCE}test_verification_is_pure_and_in_one_place_and_primitives_are_the_suites",
            f"{SOURCE}test_a_breach_is_seen",
        ),
        {},
        why="test_a_breach_is_seen breaks each rule in a copy of a source",
    ),
    Row(
        LAID,
        "vm, labels, wire and round logic pure",
        (f"{SOURCE}test_the_import_contracts_see_each_breach", "tests/vm/test_authoring.py::test_the_machine_is_pure"),
        {},
        why="the first test breaks purity in a copy of each of the four, and the contract says so",
    ),
    Row(
        LAID,
        "the import contracts in CI from the first commit",
        (
            f"{SOURCE}test_ci_runs_what_a_newcomer_runs_and_the_contracts",
            f"{SOURCE}test_the_import_contracts_see_each_breach",
        ),
        {},
        why="the contracts are run on a copy with breaches; CI's script is read",
    ),
    Row(
        LAID,
        "Suite ids and versions everywhere (hybrid signatures come later under a new id; X-Wing HPKE now)",
        (
            f"{ORDERS}test_an_unknown_suite_is_refused_wherever_it_stands",
            f"{ORDERS}test_another_version_of_the_format_is_refused",
            "tests/crypto/test_envelope.py::test_an_unknown_suite_is_refused",
            "tests/registrar/test_messages.py::test_a_request_of_an_unknown_suite_is_refused",
            "tests/codec/test_records.py::test_frame_is_checked_first",
        ),
        {
            "any suite is known": (
                f"{ORDERS}test_an_unknown_suite_is_refused_wherever_it_stands[order]",
                f"{ORDERS}test_an_unknown_suite_is_refused_wherever_it_stands[job]",
                "tests/crypto/test_envelope.py::test_an_unknown_suite_is_refused",
            ),
            "any version is known": (
                f"{ORDERS}test_another_version_of_the_format_is_refused",
                "tests/codec/test_records.py::test_frame_is_checked_first",
            ),
        },
    ),
    Row(
        LAID,
        "SHA-256 and AES-256-GCM, nothing else yet",
        (
            f"{SOURCE}test_verification_is_pure_and_in_one_place_and_primitives_are_the_suites",
            f"{SOURCE}test_a_breach_is_seen[another hash]",
            f"{SOURCE}test_a_breach_is_seen[another cipher]",
            "tests/codec/test_records.py::test_digest_is_sha256",
        ),
        {},
        why="test_a_breach_is_seen brings another hash and another cipher",
    ),
)


# 'Done when' 4: the refusal of the plan that copies a row rests on the owner's pin.
CANARIES = (
    (
        "the pin of a plan is not looked at",
        f"{SECURITY}/test_canaries.py::test_a_plan_that_copies_a_row_is_refused_by_its_hash",
    ),
)


def pairs() -> list[tuple[str, str]]:
    """Every (mutant, node id), each once, mutant by mutant."""
    listed = [(mutant, test) for row in TABLE for mutant, tests in row.mutants.items() for test in tests]
    return list(dict.fromkeys((*listed, *CANARIES)))


def files() -> list[str]:
    """The files of every test that the table names."""
    named = {test for row in TABLE for test in row.tests} | {test for _, test in pairs()}
    return sorted({test.partition("::")[0] for test in named})


def markdown() -> str:
    """The table for people."""
    lines = [
        "# Which test stands for which check",
        "",
        "Made from `tests/security/security_table.py`. `tests/security/test_table.py` holds that it is complete, that",
        "the tests exist, and that they fail when the check of the last column is taken out of the product.",
    ]
    for section in ISSUE:
        lines += ["", f"## {section}", "", "| item | tests | what is taken out |", "|---|---|---|"]
        for row in (row for row in TABLE if row.section == section):
            tests = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in row.tests)
            lines.append(f"| {row.item.replace('|', '/')} | {tests} | {'; '.join(row.mutants) or row.why} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from pathlib import Path

    guide = Path(__file__).resolve().parents[2] / "sdk" / "docs" / "guide" / "checks.md"
    guide.parent.mkdir(parents=True, exist_ok=True)
    guide.write_text(markdown(), encoding="utf-8")
