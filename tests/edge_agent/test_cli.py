"""The daemon's commands as a person uses them: real registrar, real processes, exit codes and messages."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sojourn.crypto import TrustLayout, create_trust
from sojourn.registrar import RegistrarState, parse_token, serve
from sojourn.streams import TableStream
from sojourn.testing.fleet import free_ports
from sojourn_agent.cli import app
from typer.testing import CliRunner

BIN = Path(sys.executable).parent / "sojourn-agent"
COORDINATOR = BIN.with_name("sojourn-coordinator")
POLICY = """\
version = 1
owner = "st-anna"

[[admit]]
authors = ["{author}"]
purposes = ["study"]
programs = "any"
plans = ["sha256:{plan}"]
streams = {{ patients = ["x"] }}
effects = ["stream.open", "release.count"]
max_fuel = 1000
max_memory = 1000

[[admit.release]]
kind = "count"
claim = "trusted-plan"
name = "patients"
high = 10.0
""".format(author="a" * 64, plan="b" * 64)


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trust(tmp_path_factory) -> TrustLayout:
    return create_trust(tmp_path_factory.mktemp("trust") / "federation")


@pytest.fixture(scope="module")
def registrar(trust):
    """A registrar on a thread of its own: `token(name)` mints."""
    ready, stop = threading.Event(), threading.Event()
    where = {}

    async def main():
        with RegistrarState.open(trust.registrar) as state:
            async with await serve(state, "127.0.0.1", 0) as server:
                where["url"] = f"wss://127.0.0.1:{server.port}"
                ready.set()
                while not stop.is_set():
                    await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(10)

    def token(name="st-anna"):
        with RegistrarState.open(trust.registrar) as state:
            return state.mint_token(name, url=where["url"], ttl_ms=60_000, replace=True)

    yield token
    stop.set()
    thread.join()


@pytest.fixture
def state(tmp_path, registrar):
    """An enrolled state folder with a policy."""
    folder = tmp_path / "st-anna"
    done = invoke("enrol", "--state", folder, "--token", registrar())
    assert done.exit_code == 0, done.output
    (folder / "policy.toml").write_text(POLICY)
    return folder


def saved(path, **columns):
    np.savez(path, **columns)
    return path


def test_help_says_how(tmp_path):
    for line in ("", "enrol", "data import", "data show", "run", "status", "released", "policy check"):
        command = line.split()
        done = invoke(*command, "--help")
        assert done.exit_code == 0
        assert not command or "Example: sojourn-agent" in done.output
    assert invoke("run").exit_code == 2


def test_a_token_works_once(tmp_path, registrar):
    token = registrar()
    first = invoke("enrol", "--state", tmp_path / "one", "--token", token, "--json")
    assert first.exit_code == 0
    assert json.loads(first.stdout.splitlines()[-1])["name"] == "st-anna"
    assert (tmp_path / "one" / "identity.key").stat().st_mode & 0o077 == 0
    second = invoke("enrol", "--state", tmp_path / "two", "--token", token)
    assert second.exit_code == 1
    assert "used" in second.stderr
    assert not (tmp_path / "two" / "entry.signed").exists()
    again = invoke("enrol", "--state", tmp_path / "one", "--token", registrar())
    assert again.exit_code == 2
    assert "enrolled already" in again.stderr


def test_a_damaged_token_or_no_registrar(tmp_path, trust):
    assert invoke("enrol", "--state", tmp_path / "a", "--token", "sjt1.nonsense").exit_code == 2
    with RegistrarState.open(trust.registrar) as state:
        token = state.mint_token("x", url="wss://127.0.0.1:1", ttl_ms=60_000)
    done = invoke("enrol", "--state", tmp_path / "a", "--token", token)
    assert done.exit_code == 2
    assert "does not answer" in done.stderr
    assert "same token" in done.stderr


def test_data_goes_in_and_only_its_shape_is_shown(tmp_path):
    folder = tmp_path / "state"
    x = np.full((7, 3), 12345.678, np.float32)
    file = saved(tmp_path / "rows.npz", x=x, y=np.arange(7, dtype=np.int64))
    assert invoke("data", "import", "--state", folder, "--stream", "patients", file).exit_code == 0
    more = invoke("data", "import", "--state", folder, "--stream", "patients", file, "--json")
    assert json.loads(more.stdout) == {"stream": "patients", "rows": 14}
    shown = invoke("data", "show", "--state", folder)
    assert "patients: 14 rows of x: f32[3], y: i64[]" in shown.stdout
    assert "12345" not in shown.stdout
    assert json.loads(invoke("data", "show", "--state", folder, "--json").stdout) == [
        {"stream": "patients", "rows": 14, "fields": {"x": ["f32", 3], "y": ["i64"]}, "nan": []}
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": np.zeros((2, 4), np.float32)}, "shape"),
        ({"x": np.zeros((2, 3), np.float64)}, "float64"),
        ({"z": np.zeros(2, np.float32)}, "exactly x"),
    ],
)
def test_rows_that_do_not_fit_change_nothing(tmp_path, columns, message):
    folder = tmp_path / "state"
    file = saved(tmp_path / "rows.npz", x=np.zeros((2, 3), np.float32))
    invoke("data", "import", "--state", folder, "--stream", "patients", file)
    done = invoke("data", "import", "--state", folder, "--stream", "patients", saved(tmp_path / "bad.npz", **columns))
    assert done.exit_code == 2
    assert message in done.stderr
    assert "2 rows" in invoke("data", "show", "--state", folder).stdout


def imported(folder, file, *options):
    return invoke("data", "import", "--state", folder, "--stream", "patients", *options, file)


def stored(folder, name="patients"):
    with TableStream.open(folder / "streams" / name, readonly=True) as table:
        return table.read(0, 100, table.extent())


def test_a_csv_goes_in_with_its_types_and_again_with_those_of_the_stream(tmp_path):
    folder, file = tmp_path / "state", tmp_path / "rows.csv"
    file.write_text(
        "\N{ZERO WIDTH NO-BREAK SPACE}age,sex:bool,x[0],x[1],seen:i64\n61,true,1,-.5,1700000000\n47.5, 0,2e1,3,-1\n\n"
    )
    assert imported(folder, file).exit_code == 0
    assert (
        "2 rows of age: f32[], seen: i64[], sex: bool[], x: f32[2]" in invoke("data", "show", "--state", folder).stdout
    )
    file.write_text("seen,sex,x[0],x[1],age\n1700000001,1,0,0,20\n")
    assert json.loads(imported(folder, file, "--json").stdout) == {"stream": "patients", "rows": 3}
    found = stored(folder)
    assert found["age"].tolist() == [61.0, 47.5, 20.0]
    assert found["sex"].tolist() == [True, False, True]
    assert found["x"].tolist() == [[1.0, -0.5], [20.0, 3.0], [0.0, 0.0]]
    assert found["seen"].tolist() == [1_700_000_000, -1, 1_700_000_001]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,bp\n1,2\n3,\n", "rows.csv:3: bp: '' is no number; write a number of type f32"),
        ("age,bp\n1,2\n3,1_000\n", "rows.csv:3: bp: '1_000' is no number"),
        ("age,bp\n1,2\n\n3,4\n", "rows.csv:3: the line is empty"),
        ("age,bp\n1,2,3\n", "rows.csv:2: 3 values, the header names 2"),
        ("age,bp\n1,nan\n", "rows.csv:2: bp: 'nan' may not stand in this field"),
        ("age,bp\n1,-inf\n", "rows.csv:2: bp: '-inf' may not stand in this field"),
        ("age,bp\n1,1e39\n", "rows.csv:2: bp: 1e39 is too large for f32; give the column another type, such as bp:f64"),
        ("age,bp\n1,16777217\n", "rows.csv:2: bp: 16777217 would be rounded in f32"),
        ("age,bp:i8\n1,2\n1,300\n", "rows.csv:3: bp:i8: 300 is not in i8, -128 to 127"),
        ("age,bp:u8\n1,-1\n", "rows.csv:2: bp:u8: -1 is not in u8, 0 to 255"),
        ("age,bp:bool\n1,2\n", "rows.csv:2: bp:bool: '2' is no bool"),
        ("age,bp:bf16\n1,2\n", "rows.csv:1: 'bp:bf16': bf16 are bit patterns"),
        ("age,age[1]\n1,2\n", "rows.csv:1: field 'age' stands twice"),
        ("1,2\n3,4\n", "rows.csv:1: '1' is a number; the first line has to name the columns"),
        ("age,bp\n", "rows.csv has no rows"),
        ("", "rows.csv is empty"),
        ('age,bp\n1,"2\n', "rows.csv: "),
    ],
)
def test_a_csv_with_a_mistake_changes_nothing(tmp_path, text, message):
    folder, file = tmp_path / "state", tmp_path / "rows.csv"
    file.write_text(text)
    done = imported(folder, file)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not folder.exists(), "no stream was made, and no folder"
    file.write_text("age,bp\n1,2\n")
    assert imported(folder, file).exit_code == 0
    file.write_text(text)
    assert imported(folder, file).exit_code == 2
    assert stored(folder)["age"].tolist() == [1.0]


def test_a_csv_that_is_not_the_streams_says_how_to_write_it(tmp_path):
    folder, file = tmp_path / "state", tmp_path / "rows.csv"
    imported(folder, saved(tmp_path / "a.npz", x=np.zeros((1, 2)), y=np.zeros(1, np.int64), z=np.zeros((1, 2, 2))))
    for text, message in (
        ("x,y,z\n1,2,3\n", "field 'x' of the stream is written x[0] to x[1] in a header"),
        ("x[0],x[1],y:f32,z\n1,2,3,4\n", "y:f32: this field of the stream is i64"),
        ("x[0],x[1],y[0],z\n1,2,3,4\n", "field 'y' of the stream is one number, written y in a header"),
        ("x[0],x[1],y,z\n1,2,3,4\n", "which no .csv can hold"),
        ("x[0],x[1]\n1,2\n", "the table has exactly x, y, z"),
    ):
        file.write_text(text)
        done = imported(folder, file)
        assert (done.exit_code, message in " ".join(done.stderr.split())) == (2, True), done.stderr
    assert len(stored(folder)["y"]) == 1


def test_a_field_holds_nan_only_where_it_was_declared_to(tmp_path):
    folder, file = tmp_path / "state", tmp_path / "rows.csv"
    bad = saved(tmp_path / "bad.npz", age=np.array([1.0, 2.0]), bp=np.array([1.0, np.inf]))
    done = imported(folder, bad)
    assert done.exit_code == 2
    assert "column 'bp' holds a NaN or an infinity, first in row 1 (counting from 0)" in " ".join(done.stderr.split())
    assert not folder.exists()
    assert "no column 'pb'" in imported(folder, bad, "--allow-nan", "pb").stderr
    assert imported(folder, bad, "--allow-nan", "bp").exit_code == 0
    assert "age: f64[], bp: f64[] or NaN" in invoke("data", "show", "--state", folder).stdout
    file.write_text("age,bp\n3,NaN\n")
    assert imported(folder, file).exit_code == 0
    file.write_text("age,bp\nnan,3\n")
    assert "rows.csv:2: age: 'nan' may not stand" in imported(folder, file).stderr
    refused = imported(folder, file, "--allow-nan", "age").stderr
    assert "age finite, bp any" in " ".join(refused.split())
    assert np.isnan(stored(folder)["bp"][2])


def test_files_that_are_no_columns(tmp_path):
    folder = tmp_path / "state"
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, x=np.array([{"a": 1}], dtype=object))
    text = tmp_path / "text.npz"
    text.write_text("rows")
    for file in (pickled, text, tmp_path / "missing.npz"):
        done = invoke("data", "import", "--state", folder, "--stream", "patients", file)
        assert done.exit_code == 2, file
        assert file.name in done.stderr
        assert "numpy.savez(" in done.stderr
        assert "pickle=" not in done.stderr  # numpy's own advice, which would run what the file says
    assert "text.npz is no .npz file" in invoke("data", "import", "--state", folder, "--stream", "p", text).stderr
    bad = invoke("data", "import", "--state", folder, "--stream", "../up", saved(tmp_path / "a.npz", x=np.zeros(2)))
    assert bad.exit_code == 2
    assert "no name of a stream" in bad.stderr


def test_policy_check_explains_or_names_the_mistake(tmp_path):
    good = tmp_path / "policy.toml"
    good.write_text(POLICY)
    shown = invoke("policy", "check", good)
    assert shown.exit_code == 0
    assert "Policy of st-anna" in shown.stdout
    assert "warnings" in json.loads(invoke("policy", "check", good, "--json").stdout)
    good.write_text(POLICY + "surprise = 1\n")
    done = invoke("policy", "check", good)
    assert done.exit_code == 2
    assert "surprise" in done.stderr


def test_run_says_how_to_enrol_and_how_to_get_a_policy(state, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "none", tmp_path / "empty"):
        done = invoke("run", "--state", folder, "--coordinator", "wss://127.0.0.1:1")
        assert done.exit_code == 2
        assert f"sojourn-agent enrol --state {folder} --token TOKEN" in " ".join(done.stderr.split())
    assert not (tmp_path / "none").exists()
    (state / "policy.toml").unlink()
    done = invoke("run", "--state", state, "--coordinator", "wss://127.0.0.1:1")
    assert done.exit_code == 2
    draft = f"sojourn policy draft SUBMISSION --owner NAME -o {state / 'policy.toml'}"
    assert draft in " ".join(done.stderr.split())


def test_status_of_what_is_there_and_what_is_not(state, tmp_path):
    nothing = invoke("status", "--state", tmp_path / "none")
    assert nothing.exit_code == 2
    assert "enrol" in nothing.stderr
    found = json.loads(invoke("status", "--state", state, "--json").stdout)
    assert (found["name"], found["running"], found["orders"]) == ("st-anna", False, [])
    assert found["effects_resumed"] == found["effects_recomputed"] == 0
    assert "st-anna" in invoke("status", "--state", state).stdout


class Daemon:
    """`sojourn-agent run` as a process."""

    def __init__(self, state, *options, port=1, **environment):
        command = [BIN, "run", "--state", state, "--coordinator", f"wss://127.0.0.1:{port}", *options]
        self.child = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self.said: list[str] = []

    def until(self, text, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            line = self.child.stderr.readline()
            if not line:
                break
            self.said.append(line)
            if text in line:
                return
        raise AssertionError(f"{text!r} was not said: {self.said}")

    def end(self, number=None):
        if number is not None:
            self.child.send_signal(number)
        out, err = self.child.communicate(timeout=20)
        assert out == ""
        return self.child.returncode, "".join(self.said) + err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_run_keeps_trying_says_so_and_stops_cleanly(state, number, code):
    daemon = Daemon(state)
    daemon.until("st-anna serves wss://127.0.0.1:1")
    daemon.until("cannot reach wss://127.0.0.1:1")
    assert json.loads(invoke("status", "--state", state, "--json").stdout)["running"]
    taken = invoke("data", "import", "--state", state, "--stream", "s", saved(state.parent / "r.npz", x=np.zeros(2)))
    assert (taken.exit_code, str(daemon.child.pid) in taken.stderr) == (2, True)
    second = Daemon(state).end()
    assert second[0] == 2
    assert f"in use by process {daemon.child.pid}" in second[1]
    ended, said = daemon.end(number)
    assert ended == code
    assert "the state is intact" in said
    assert "Traceback" not in said
    assert not json.loads(invoke("status", "--state", state, "--json").stdout)["running"]


def test_run_refuses_what_does_not_fit(state, tmp_path):
    (state / "policy.toml").write_text(POLICY + "surprise = 1\n")
    code, said = Daemon(state).end()
    assert (code, "surprise" in said) == (2, True)
    other = tmp_path / "other.toml"
    other.write_text(POLICY)
    daemon = Daemon(state, "--policy", other, SOJOURN_FAULT="nonsense")
    code, said = daemon.end()
    assert (code, "SOJOURN_FAULT" in said) == (2, True)
    (state / "version").write_text("sojourn agent 99\n")
    code, said = Daemon(state, "--policy", other).end()
    assert (code, "newer Sojourn" in said) == (2, True)


def test_run_in_a_folder_that_is_not_enrolled_and_with_a_bad_address(state, tmp_path):
    bare = tmp_path / "bare"
    invoke("data", "import", "--state", bare, "--stream", "s", saved(tmp_path / "r.npz", x=np.zeros(2)))
    done = invoke("run", "--state", bare, "--coordinator", "wss://127.0.0.1:1")
    assert done.exit_code == 2
    assert "sojourn-agent enrol" in done.stderr
    done = invoke("run", "--state", state, "--coordinator", "http://127.0.0.1:1")
    assert done.exit_code == 2
    assert "wss://" in done.stderr


def test_a_listener_that_is_no_coordinator_is_not_believed(state):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        daemon = Daemon(state, port=port)
        daemon.until("serves")
        connection, _ = server.accept()
        connection.close()
        daemon.until("trying again")
        assert daemon.end(signal.SIGTERM)[0] == 0


@pytest.fixture
def coordinator(trust, tmp_path):
    """A real coordinator; the ports of its two listeners, agents' first."""
    where = str(tmp_path / "coordinator")
    subprocess.run([COORDINATOR, "init", "--state", where, "--trust", trust.root.parent], check=True)
    ports = free_ports(2)
    listen = ["--agents", f"127.0.0.1:{ports[0]}", "--operators", f"127.0.0.1:{ports[1]}", "--json"]
    command = [COORDINATOR, "run", "--state", where, *listen]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout.readline()
        yield ports
        child.terminate()


def test_run_at_a_wrong_port_says_what_to_check_once(state, registrar, coordinator):
    """The operators' port, the registrar's, and the right one, which needs no advice."""
    agents, operators = coordinator
    enrolling = parse_token(registrar("anybody")).url.rpartition(":")[2]
    for port, words in ((operators, "port for operators"), (enrolling, "is it the registrar's?")):
        daemon = Daemon(state, port=port)
        daemon.until(words)
        time.sleep(1)  # several tries
        said = daemon.end(signal.SIGTERM)[1]
        assert said.count(words) == 1
        assert said.count("trying again") <= 1
    daemon = Daemon(state, port=agents)
    daemon.until("connected to")
    assert "check" not in daemon.end(signal.SIGTERM)[1]
