"""Commands of authors and registrars, as they are typed: results, files and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from sojourn import __version__
from sojourn.client.cli import app
from sojourn.crypto.identity import read_root_public
from sojourn.testing.fleet import BIN
from sojourn.vm import verify
from typer.testing import CliRunner, Result

PROGRAM = """\
from sojourn.program import continuation, private, release, stream


def size(rows):
    return {"n": 1}


@continuation
def clinic(order):
    rows = stream.open("patients", fields=["x"])
    result = private(size, rows, fuel=1000, memory=100000)
    release.count(result, of="n", name="patients", high=1000)
"""


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "160"})


def as_json(*arguments: str | Path) -> Any:
    done = invoke(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "federation"
    found = as_json("trust", "init", folder, "--author", "alice", "--author", "bob", "--host", "hub.example.org")
    assert [(e["role"], e["name"]) for e in found["entries"] if e["role"] == "author"] == [
        ("author", "alice"), ("author", "bob"),
    ]  # fmt: skip
    return folder


def test_version() -> None:
    assert invoke("--version").stdout == f"sojourn {__version__}\n"


def test_trust_init_leaves_what_each_party_needs(trust: Path) -> None:
    assert {path.name for path in trust.iterdir()} >= {"root", "registrar", "coordinator", "ca.pem", "root.pub"}
    assert len(read_root_public(trust / "root.pub")) == 32
    x509.load_pem_x509_certificate((trust / "ca.pem").read_bytes())
    again = invoke("trust", "init", trust)
    assert (again.exit_code, again.stdout) == (2, "")
    assert str(trust) in again.stderr


def test_trust_show(trust: Path) -> None:
    found = as_json("trust", "show", trust / "registrar")
    assert (found["version"], found["revoked"]) == (1, [])
    shown = invoke("trust", "show", trust / "registrar")
    assert all(word in shown.stdout for word in ("roster version 1", "alice", "bob", "coordinator", "registrar"))
    assert invoke("trust", "show", trust / "nowhere").exit_code != 0


def test_trust_revoke(trust: Path, tmp_path: Path) -> None:
    alice = next(e["key"] for e in as_json("trust", "show", trust / "root")["entries"] if e["name"] == "alice")
    before = as_json("trust", "show", trust / "root")["version"]
    found = as_json("trust", "revoke", trust / "root", alice)
    assert (found["version"], found["revoked"]) == (before + 1, [alice])
    told = invoke("trust", "revoke", trust / "root", "ab" * 32)
    assert told.stdout == f"{trust / 'root' / 'roster.signed'}: version {before + 2}\n"
    for key in ("xyz", "abcd", "é" * 64):
        wrong = invoke("trust", "revoke", trust / "root", key)
        assert (wrong.exit_code, "64 hexadecimal digits" in wrong.stderr) == (2, True)
    assert as_json("trust", "show", trust / "root")["version"] == before + 2


def test_registrar_tokens_and_list(trust: Path) -> None:
    state = ["--state", trust / "registrar"]
    url = ["--url", "wss://127.0.0.1:7442"]
    minted = as_json("registrar", "token", *state, "--name", "ward-7", *url, "--ttl", "30m")
    assert (minted["name"], minted["token"][:5]) == ("ward-7", "sjt1.")
    plain = invoke("registrar", "token", *state, "--name", "ward-8", *url)
    assert plain.stdout.startswith("sjt1.")
    assert plain.stdout.count("\n") == 1
    assert as_json("registrar", "list", *state) == []
    assert "agent" in invoke("registrar", "list", *state).stdout
    for ttl in ("", "30", "1w", "-1h", "0m", "²d"):
        assert invoke("registrar", "token", *state, "--name", "x", *url, "--ttl", ttl).exit_code == 2, ttl
    assert invoke("registrar", "list", "--state", trust / "author-that-is-not").exit_code in {1, 2}


@pytest.mark.parametrize("address", ["", "7442", "127.0.0.1:", "127.0.0.1:port", "127.0.0.1:70000", "127.0.0.1:²"])
def test_registrar_listens_on_addresses_only(trust: Path, address: str) -> None:
    done = invoke("registrar", "serve", "--state", trust / "registrar", "--listen", address)
    assert (done.exit_code, "HOST:PORT" in done.stderr) == (2, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_registrar_serves_until_a_signal(trust: Path, number: int, code: int) -> None:
    command = [
        BIN / "sojourn",
        "registrar",
        "serve",
        "--state",
        trust / "registrar",
        "--listen",
        "127.0.0.1:0",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        watch = threading.Timer(30, child.kill)
        watch.start()
        said = child.stderr.readline()
        child.send_signal(number)
        out, err = child.communicate()
        watch.cancel()
    assert child.returncode == code, err
    assert json.loads(out)["url"] in said


def test_program_build_and_show(tmp_path: Path) -> None:
    source = tmp_path / "clinic.py"
    source.write_text(PROGRAM)
    built = as_json("program", "build", source)
    data = (tmp_path / "clinic.sjp").read_bytes()
    assert (built["digest"], built["bytes"]) == (verify(data).digest.hex(), len(data))
    assert built["entries"] == {"clinic": ["release.count", "stream.open"]}
    assert as_json("program", "show", source) == {
        "digest": built["digest"],
        "entries": built["entries"],
        "releases": {"clinic": [{"line": 12, "kind": "count", "of": "n", "name": "patients", "high": 1000}]},
    }
    lines = invoke("program", "show", source).stdout.splitlines()
    text = PROGRAM.splitlines()
    assert [line[6:] for line in lines[: len(text)]] == text
    assert lines[11].startswith("  12      release.count")
    assert lines[len(text) :] == [
        "",
        f"clinic.py  {built['digest']}",
        "entry clinic: release.count, stream.open",
        "  line 12 releases count 'patients', of='n', high=1000",
    ]
    code = invoke("program", "show", source, "--code").stdout
    assert code.startswith("\n".join(lines))
    assert "EFFECT" in code.removeprefix("\n".join(lines))
    assert "EFFECT" in as_json("program", "show", source, "--code")["code"]
    assert invoke("program", "show", tmp_path / "clinic.sjp").stdout.splitlines() == [
        f"clinic.sjp  {built['digest']}", *lines[-2:],
    ]  # fmt: skip
    assert "built program" in invoke("program", "build", tmp_path / "clinic.sjp").stderr
    told = invoke("program", "build", source, "-o", tmp_path / "other.sjp")
    assert told.stdout == f"{tmp_path / 'other.sjp'}  {len(data)} bytes  {built['digest']}\n"


def test_program_outside_the_language(tmp_path: Path) -> None:
    source = tmp_path / "clinic.py"
    source.write_text(PROGRAM.replace('    return {"n": 1}', "    while True: yield 1"))
    refused = invoke("program", "build", source)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "clinic.py:5:" in refused.stderr
    assert not (tmp_path / "clinic.sjp").exists()
    source.write_bytes(b"\xff\xfe")
    assert "UTF-8" in invoke("program", "show", source).stderr
    assert invoke("program", "show", tmp_path / "none.py").exit_code == 2
    source.write_text(PROGRAM)
    assert invoke("program", "build", source, "-o", tmp_path / "no" / "where").exit_code == 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("program.py", PROGRAM.encode(), "is Python source, and no submission"),
        ("policy.toml", b"version = 1\n", "is no file of Sojourn's"),
        ("empty", b"", "is no file of Sojourn's"),
        ("program.sjp", b"SJ\x01\x01\x00\x01rest", "is a compiled program, and no submission"),
        ("identity.key", b"SJ\x04\x05\x00\x01rest", "is of kind 0x0405"),
    ],
)
def test_submitting_another_kind_of_file_says_how_to_make_one(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    done = invoke("submit", tmp_path / name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    assert "build_submission" in done.stderr


NEEDED = ("SOJOURN_COORDINATOR", "SOJOURN_TOKEN_FILE", "SOJOURN_CA")


@pytest.mark.parametrize("given", [(), NEEDED[:1], NEEDED[1:2], NEEDED[:2], NEEDED[1:]])
def test_everything_that_is_missing_is_named_at_once(given: tuple[str, ...]) -> None:
    env = dict.fromkeys(given, "https://127.0.0.1:1") | {name: None for name in NEEDED if name not in given}
    for command in (["jobs"], ["job", "ab"], ["cancel", "ab"], ["follow", "ab"], ["provenance", "export", "ab"]):
        done = CliRunner().invoke(app, command, env=env)
        assert (done.exit_code, done.stdout) == (2, ""), command
        assert [name for name in NEEDED if f"export {name}=" in done.stderr] == [n for n in NEEDED if n not in given]


def test_what_is_no_token_and_no_address(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    for content in (b"", b"\xff\xfe", b"two words", "schl\u00fcssel".encode()):
        (tmp_path / "token").write_bytes(content)
        env = dict(zip(NEEDED, ("https://127.0.0.1:1", str(tmp_path / "token"), str(tmp_path / "ca.pem")), strict=True))
        done = CliRunner().invoke(app, ["jobs"], env=env)
        assert (done.exit_code, "token show --state" in done.stderr) == (2, True)
