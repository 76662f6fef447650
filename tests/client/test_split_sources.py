"""A program in several files, as an author builds, shows, runs, saves and submits it; and where files are found."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from sojourn.client import build_submission
from sojourn.client.cli import app
from sojourn.client.sources import Sources, compile_file
from sojourn.client.submission import count, phase
from sojourn.client.trial.saved import load_saved
from sojourn.codec import decode, digest, encode
from sojourn.contracts import Bundle
from sojourn.crypto import Identity, create_trust
from sojourn.errors import ProgramRefused, UsageError
from sojourn.vm import verify
from typer.testing import CliRunner, Result

SURVEY = """\
from sojourn.program import continuation, fleet, private, stream
from .inside import look
from . import out


@continuation
def clinic(order):
    rows = stream.open("patients", fields=["age", "bp"])
    seen = private(look, rows, order.args["age"], fuel=5000, memory=100000)
    out.publish(seen, order.args["fail"])


@continuation
def rounds(job):
    fleet.ask(fleet.invite(round=0), "survey")
"""
INSIDE = """\
from sojourn.program import stream, tensor
from study.limits import SIZE


def older(patient, age):
    return tensor.item(patient["age"]) >= age


def look(rows, age):
    n, cursor = 0, stream.first(rows)
    while cursor is not None:
        patient, cursor = stream.batch(rows, cursor, SIZE)
        n += older(patient, age)
    return {"older": n}
"""
OUT = """\
from sojourn.program import log, release


def publish(seen, fail):
    log.note("looked")
    if fail:
        raise ValueError("on purpose")
    release.count(seen, of="older", name="older", high=100)
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package, and rows; it is not the current one."""
    files = {"survey.py": SURVEY, "inside.py": INSIDE, "out.py": OUT, "limits.py": "SIZE = 1\n", "__init__.py": ""}
    (tmp_path / "study").mkdir()
    for name, text in files.items():
        (tmp_path / "study" / name).write_text(text, "utf-8")
    (tmp_path / "rows.csv").write_text("age,bp\n30,100\n60,120\n70,160\n", "utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def sojourn(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


def run(desk: Path, *arguments: str | Path, age: str = "50", fail: bool = False) -> Result:
    args = json.dumps({"age": json.loads(age), "fail": fail})
    return sojourn("program", "run", desk / "study/survey.py", "--rows", desk / "rows.csv", "--args", args, *arguments)


def test_build_show_and_submission_have_one_program(desk: Path) -> None:
    built = json.loads(sojourn("program", "build", desk / "study/survey.py", "-o", "s.sjp", "--json").stdout)
    assert built["modules"] == ["study.inside", "study.out"]
    assert verify(Path("s.sjp").read_bytes()).digest.hex() == built["digest"]
    lines = sojourn("program", "show", desk / "study/survey.py", "--code").stdout.splitlines()
    assert f"survey.py  {built['digest']}" in lines
    assert lines[lines.index("module 1: study/inside.py") + 1] == "   1  from sojourn.program import stream, tensor"
    assert "  line 8 of study/out.py releases count 'older', of='older', high=100" in lines
    assert "function 0 older(patient, age) of study/inside.py" in lines
    shown = json.loads(sojourn("program", "show", "s.sjp", "--json").stdout)
    assert shown["releases"]["clinic"][0] | {"line": 8, "file": "study/out.py"} == shown["releases"]["clinic"][0]
    made = build_submission(
        Identity.load(create_trust(desk / "trust", at_ms=1_800_000_000_000).author / "identity.key"),
        name="s", purpose="survey", program=desk / "study/survey.py", args={"age": 1, "fail": False},
        phases=[phase("survey", entry="clinic", quorum=1, answer=[count("older", high=100)])], now_ms=1_800_000_000_000,
    )  # fmt: skip
    assert made.program_digest.hex() == built["digest"]
    with pytest.raises(UsageError, match=r"study/out\.py:8: release.count 'older' says high=100"):
        build_submission(
            Identity.load(desk / "trust/author/identity.key"),
            name="s", purpose="survey", program=desk / "study/survey.py", args={"age": 1, "fail": False},
            phases=[phase("survey", entry="clinic", quorum=1, answer=[count("older", high=9)])],
        )  # fmt: skip


def test_a_run_shows_each_line_with_its_file(desk: Path) -> None:
    done = run(desk)
    assert done.exit_code == 0, done.output
    assert "  survey.py:8  [public]  stream.open(" in done.stdout
    assert "  study/inside.py:6  [{author/patients}]  tensor.item(" in done.stdout
    assert "  study/out.py:5  [public]  log.note(" in done.stdout
    events = json.loads(run(desk, "--json").stdout)["events"]
    places = {(event["effect"], event.get("file"), event["line"]) for event in events if "effect" in event}
    assert {("stream.open", None, 8), ("tensor.item", "study/inside.py", 6)} <= places


def test_failures_name_the_file(desk: Path) -> None:
    failed = run(desk, fail=True)
    assert failed.exit_code == 3
    assert 'failed with ValueError at study/out.py:7   | raise ValueError("on purpose")' in failed.stdout
    found = json.loads(run(desk, "--json", fail=True).stdout)
    assert (found["file"], found["line"]) == ("study/out.py", 7)
    inside = run(desk, age='"old"')
    assert "private: TypeError at study/inside.py:6: " in inside.stdout
    assert '| return tensor.item(patient["age"]) >= age' in inside.stdout
    assert "the region failed: TypeError at line 6 of study/inside.py: " in inside.stdout


def test_a_stopped_run_brings_every_source(desk: Path) -> None:
    assert run(desk, "--break", "tensor.item", "--save", "s.sjr").exit_code == 0
    shown = sojourn("continuation", "show", "s.sjr").stdout
    assert "older, line 6 of study/inside.py, instruction" in shown
    assert ': return tensor.item(patient["age"]) >= age' in shown
    frames = json.loads(sojourn("continuation", "show", "s.sjr", "--json").stdout)["runs"][1]["frames"]
    assert [(frame["file"], frame["line"]) for frame in frames] == [("study/inside.py", 13), ("study/inside.py", 6)]
    assert frames[0]["source"] == "n += older(patient, age)"
    assert load_saved(Path("s.sjr").read_bytes()).source.modules.keys() >= {"study.inside", "study.out", "study.limits"}
    done = run(desk, "--resume", "s.sjr")
    assert "count 'older' = 2.0" in done.stdout, done.output


def test_other_sources_in_a_saved_run_are_refused(desk: Path) -> None:
    run(desk, "--break", "tensor.item", "--save", "s.sjr")
    items = {name: data for name, data in decode(Bundle, Path("s.sjr").read_bytes(), limit=1 << 29).items.items()
             if name != "sha256"}  # fmt: skip
    for changed in (
        {"module/study.out": b"def publish(a, b):\n    pass\n"},
        {"module/study.out": b"\xff"},
        {"name": b""},
    ):
        forged = items | changed
        data = encode(Bundle(forged | {"sha256": digest(encode(Bundle(forged)))}))
        Path("forged.sjr").write_bytes(data)
        done = sojourn("continuation", "show", "forged.sjr")
        assert (done.exit_code, "is not that of its program" in done.stderr) == (1, True)


# Where files are found

ENTRY = "\n@continuation\ndef main():\n    return f()\n"
F = "def f():\n    return 1\n"


def build(folder: Path, **files: str) -> Any:
    """Compile `main` of these files; `__` is a folder."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/').replace('/init', '/__init__')}.py"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, "utf-8")
    return compile_file(folder / "main.py", files["main"])


def test_nothing_of_a_package_is_executed(tmp_path: Path) -> None:
    made = build(tmp_path, main="from pkg.a import f" + ENTRY, pkg__init="raise SystemExit\n", pkg__a=F)
    assert made.program.program.modules == ("pkg.a",)
    with pytest.raises(ProgramRefused, match=r"pkg/__init__\.py:1:1"):
        build(tmp_path, main="from pkg import f" + ENTRY)


def test_a_file_of_the_authors_hides_a_librarys_name_but_not_pythons(tmp_path: Path) -> None:
    assert build(tmp_path, main="from nn import f" + ENTRY, nn=F).program.program.modules == ("nn",)
    with pytest.raises(ProgramRefused, match=r"main\.py:1:1: importing random is not.* a seed"):
        build(tmp_path, main="from random import f" + ENTRY, random=F)
    with pytest.raises(ProgramRefused, match=r"importing sojourn\.vm is not"):
        build(tmp_path, main="from sojourn.vm import f" + ENTRY)


def test_what_is_installed_is_found_and_a_library_is_refused_where_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "shared").mkdir(parents=True)
    (site / "shared" / "__init__.py").write_text("from .more import f\n", "utf-8")
    (site / "shared" / "more.py").write_text(F, "utf-8")
    (site / "big.py").write_text("import os\nclass A:\n    pass\n" + F, "utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    made = build(tmp_path / "own", main="from shared import f" + ENTRY)
    assert made.program.program.modules == ("shared.more",)
    with pytest.raises(ProgramRefused) as problem:
        build(tmp_path / "own", main="\nfrom big import f" + ENTRY)
    assert str(problem.value).startswith(
        "main.py:2:1: importing big is not in this language: it is a library (big.py:1:"
    )
    assert "shared" not in sys.modules


def test_an_extension_and_what_is_nowhere_are_no_sources(tmp_path: Path) -> None:
    sources = Sources(tmp_path / "main.py")
    assert sources.find("numpy") is None
    assert sources.find("_msgspec_gone.core") is None
    assert sources.find("msgspec._core") is None
    assert sources.find("a b") is None


def test_a_module_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"a\.py, which the program imports, cannot be read"):
        build(tmp_path, main="from a import f" + ENTRY)


def test_a_module_with_a_name_that_no_file_has(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.py, which the program imports, cannot be read: File name too long"):
        build(tmp_path, main=f"import {'a' * 255}\n" + ENTRY)


def test_no_more_of_a_module_is_read_than_a_program_may_have(tmp_path: Path) -> None:
    with (tmp_path / "a.py").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on disk
    with pytest.raises(ProgramRefused, match="more than 1048576 bytes"):
        build(tmp_path, main="from a import f" + ENTRY)


def test_a_program_that_a_module_imports_is_a_circle(tmp_path: Path) -> None:
    with pytest.raises(ProgramRefused, match="in a circle: main imports a imports main"):
        build(tmp_path, main="from a import f" + ENTRY, a="import main\n" + F)


def test_a_file_whose_name_nothing_can_import(tmp_path: Path) -> None:
    path = tmp_path / "01-main.py"
    assert Sources(path).name == ""
    (tmp_path / "a.py").write_text(F, "utf-8")
    assert compile_file(path, "from a import f" + ENTRY).program.entries == ("main",)
