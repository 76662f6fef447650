"""The guides say what the code does: their tables, programs, messages and commands are held against it.

Where a table is stale, the failing test prints what belongs between its marks.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from itertools import zip_longest
from pathlib import Path

import pytest
import typer
from sojourn import program as names
from sojourn.agent import Field
from sojourn.client.cli import app as sojourn
from sojourn.client.submission import build_submission, count, mean, phase
from sojourn.codec import encode
from sojourn.contracts import Phase
from sojourn.crypto import Identity
from sojourn.datoms import DType
from sojourn.errors import ProgramRefused, UsageError
from sojourn.labels import Label
from sojourn.submissions import AGENT_EFFECTS, ROUNDS_EFFECTS
from sojourn.testing.fleet import BIN, free_ports
from sojourn.vm import EFFECTS, Failed, Handle, Machine, Parked, RecordValue, compile_source, verify
from sojourn.vm.op import BUILTINS, EXCEPTIONS, METHODS, RAISABLE
from sojourn_agent.cli import app as agent
from sojourn_coordinator.cli import app as coordinator
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "sdk" / "docs" / "guide"
PROGRAMS = GUIDE / "programs.md"
STARTED = GUIDE / "getting-started.md"
SAMPLE = ROOT / "samples" / "02_embedded" / "README.md"
APPS = {"sojourn": sojourn, "sojourn-agent": agent, "sojourn-coordinator": coordinator}
SERVED = {"agent": AGENT_EFFECTS, "coordinator": ROUNDS_EFFECTS}
PORTS = ("7442", "7443", "7444")
HEAD = "from sojourn.program import continuation, fleet, gpu, log, private, release, stream, tensor\n\n\n"
ENTRY = "@continuation\ndef clinic(order):\n"

REFUSED = (
    ENTRY + "    with order.args as args:\n        log.note('x')\n",
    ENTRY + "    class Clinic:\n        pass\n",
    ENTRY + "    rows = stream.open('patients', fields=['age'])\n    first = stream.first(rows)\n",
    "def look(rows):\n    release.count(rows, of='n', name='n', high=10)\n\n\n"
    + ENTRY
    + "    rows = stream.open('patients', fields=['age'])\n    private(look, rows, fuel=1000, memory=100000)\n",
    ENTRY + "    release.count(order.weights, of='n', name='n', top=10)\n",
    "import numpy\n" + ENTRY + "    log.note('x')\n",
)


def between(mark: str, page: Path = PROGRAMS) -> str:
    found = re.search(rf"<!-- {mark} -->\n(.*?)<!-- end of {mark} -->", page.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def blocks(path: Path, kind: str) -> list[str]:
    """Fenced blocks whose information string is exactly `kind`."""
    return re.findall(rf"^```{re.escape(kind)}\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)


# Tables of programs.md


def effects_table() -> str:
    lines = ["| effect | where | durability | served by | what it does |", "|---|---|---|---|---|"]
    for spec in EFFECTS.values():
        if not any(spec.name in effects for effects in SERVED.values()):
            continue
        namespace, _, name = spec.name.partition(".")
        stub = getattr(names if spec.hidden else getattr(names, namespace), name)  # spawn() has a form of its own
        text = stub.__doc__.partition("\n")[0].replace("|", "\\|")
        where = "both" if len(spec.worlds) > 1 else next(iter(spec.worlds))
        served = ", ".join(who for who, effects in SERVED.items() if spec.name in effects)
        lines.append(f"| `{spec.signature}` | {where} | {spec.durability} | {served} | {text} |")
    return "\n".join(lines) + "\n"


def words() -> str:
    raised = [f"`{name}`" for name in EXCEPTIONS if name in RAISABLE]
    parts = {
        "Functions": [f"`{name}`" for name in BUILTINS if not name.startswith(".")],
        "Methods": [f"`{name}`" for name in METHODS],
        "Exceptions to raise": raised,
    }
    return "".join(f"* {title}: {', '.join(listed)}.\n" for title, listed in parts.items())


def refusals() -> str:
    lines = []
    for source in REFUSED:
        with pytest.raises(ProgramRefused) as caught:
            compile_source(HEAD + source, "program.py")
        lines.append(str(caught.value))
    return "```text\n" + "\n".join(lines) + "\n```\n"


@pytest.mark.parametrize(("mark", "made"), [("effects", effects_table), ("words", words), ("refusals", refusals)])
def test_what_stands_between_the_marks_is_what_the_code_says(mark, made):
    wanted = made()
    assert between(mark) == wanted, f"put this between the marks of {mark!r} in programs.md:\n{wanted}"


def types() -> str:
    cells = [f"`{each.name_of}` | `{each.numpy.name}`" for each in DType]
    half = -(-len(cells) // 2)
    lines = ["| type | numpy | type | numpy |", "|---|---|---|---|"]
    lines += [f"| {left} | {right} |" for left, right in zip_longest(cells[:half], cells[half:], fillvalue=" | ")]
    return "\n".join(lines) + "\n"


def test_every_type_of_a_field_is_listed():
    wanted = types()
    assert between("types", STARTED) == wanted, f"put this between the marks of 'types':\n{wanted}"
    for each in DType:
        assert Field(each.name_of).type is each


def test_each_row_about_a_box_is_what_the_machine_says():
    rows = re.findall(r"^\| `(.*?)` \| (TypeError: .*?) \|$", PROGRAMS.read_text("utf-8"), re.MULTILINE)
    assert len(rows) >= 8
    for text, message in rows:
        body = f"    {text}\n        log.note('x')\n" if text.endswith(":") else f"    kept = {text}\n"
        assert boxed(body).startswith(message), text


def boxed(body: str) -> str:
    """How a run ends that does this to a box."""
    source = f"""{HEAD}def look(rows):
    return {{"n": 3}}


@continuation
def clinic(order):
    rows = stream.open("patients", fields=["age"])
    seen = private(look, rows, fuel=1000, memory=100000)
{body}"""
    program = verify(encode(compile_source(source, "program.py")))
    order = RecordValue("order", {"round": 0})
    machine = Machine.start(program, "clinic", (order,), bytes(32), 10_000, 1_000_000)
    progress = machine.run(10_000)
    while isinstance(progress, Parked):
        assert progress.effect.name == "stream.open"
        machine.resume(Handle("stream", bytes(32), Label.of("clinic/patients")))
        progress = machine.run(10_000)
    assert isinstance(progress, Failed), progress
    return progress.detail


# Programs of the guides


def test_the_program_of_the_guide_is_the_samples():
    (shown,) = blocks(PROGRAMS, "python file=samples/02_embedded/program.py")
    assert shown == (ROOT / "samples" / "02_embedded" / "program.py").read_text("utf-8")


def test_the_messages_of_a_built_submission_are_those_of_the_guide():
    author = Identity.generate("author", "alice")

    def message(*answer) -> str:
        phases: list[Phase] = [phase("survey", entry="clinic", answer=answer)]
        with pytest.raises(UsageError) as caught:
            build_submission(
                author, name="n", purpose="p", program=ROOT / "samples" / "02_embedded" / "program.py", phases=phases
            )
        return str(caught.value)

    shown = blocks(PROGRAMS, "text")[-1].splitlines()
    pressure, patients = mean("pressure", low=40, high=200), count("patients", high=1000)
    assert shown == [message(count("older", high=500), pressure, patients), message(count("older", high=1000))]


# Commands


def commands(path: Path) -> list[list[str]]:
    """Every command of ours in the blocks and indented lines of a page."""
    text = path.read_text("utf-8").replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        bare = line.strip().removeprefix("$ ")
        match = re.search(r"(?:^|\$\()((?:sojourn|sojourn-agent|sojourn-coordinator) [a-z][^)#>&|]*)", bare)
        if match and not bare.startswith(("|", "*")):
            found.append(shlex.split(match[1]))
    return found


@pytest.mark.parametrize("path", [STARTED, PROGRAMS, SAMPLE, ROOT / "README.md"], ids=lambda path: path.name)
def test_every_command_exists_with_every_option_that_is_shown(path):
    listed = commands(path)
    assert listed
    for program, *arguments in listed:
        command, options = typer.main.get_command(APPS[program]), arguments
        while hasattr(command, "commands") and options and options[0] in command.commands:
            command, options = command.commands[options[0]], options[1:]
        assert not hasattr(command, "commands"), arguments
        known = {name for parameter in command.params for name in parameter.opts}
        unknown = [option for option in options if option.startswith("-") and option not in known]
        assert not unknown, f"{program} {' '.join(arguments)}: there is no {unknown}"


def test_the_check_of_commands_sees_one_that_does_not_exist(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("    sojourn submit file --folow  # a comment\njob=$(sojourn jobs --json)\n", encoding="utf-8")
    assert commands(page) == [["sojourn", "submit", "file", "--folow"], ["sojourn", "jobs", "--json"]]
    with pytest.raises(AssertionError, match="there is no \\['--folow'\\]"):
        test_every_command_exists_with_every_option_that_is_shown(page)


def test_help_of_every_command_of_the_guides_works():
    runner = CliRunner()
    for name, arguments in (("sojourn", ["policy", "draft"]), ("sojourn-agent", ["enrol"])):
        assert runner.invoke(APPS[name], [*arguments, "--help"]).exit_code == 0


# Pasting


def pasted(path: Path, folder: Path) -> str:
    """Run a page's blocks in one shell, as a reader would, on ports that are free; its output."""
    script = "\n".join(["set -eu", 'trap "kill \\$(jobs -p) 2> /dev/null || true" EXIT', *blocks(path, "sh")])
    for stated, free in zip(PORTS, free_ports(len(PORTS)), strict=True):
        assert stated in script
        script = script.replace(stated, str(free))
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_getting_started_works_when_it_is_pasted(tmp_path):
    (tmp_path / "repository").mkdir()
    shown = pasted(STARTED, tmp_path / "repository")
    assert re.search(r"all +│ +1000 +│ +14\.9\d* +│", shown)
    assert len(re.findall(r"how warm is it +│ +done", shown)) == 2
    assert re.search(
        r"how warm is it, by alice +│ ask 0 +│ count 'readings' +│ high 10000.0 \(.*│ 500.0 +│ 8 +│ committed", shown
    )
    (asked,) = re.findall(r"^\[\{.*\}\]$", shown, re.MULTILINE)
    assert [one["name"] for one in json.loads(asked)] == ["readings", "celsius"]
    assert "May leave: the count 'readings' from 0 to 10000.0" in shown
