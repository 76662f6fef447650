"""State folders: one process, one version, one role, private; and the few file helpers below them."""

import os
import signal
import subprocess
import sys

import pytest
from sojourn.errors import ConfigError, StateInUse, StateVersion, StoreError, UsageError
from sojourn.streams import FileLock, StateFolder, write_atomic

HOLD = """
import sys
from sojourn.streams import StateFolder
folder = StateFolder.open(sys.argv[1], "agent")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


def test_a_new_folder_is_private_and_says_whose_it_is(path):
    with StateFolder.open(path, "agent") as folder:
        assert (folder.path, folder.role, folder.version) == (path, "agent", 1)
        assert path.stat().st_mode & 0o777 == 0o700
        assert (path / "version").read_text() == "sojourn agent 1\n"
        assert (path / "lock").read_text() == f"{os.getpid()}\n"
        assert all(entry.stat().st_mode & 0o077 == 0 for entry in path.iterdir())
    with StateFolder.open(path, "agent", create=False):
        pass


def test_an_empty_folder_is_taken_and_made_private(path):
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    with StateFolder.open(path, "agent"):
        assert path.stat().st_mode & 0o777 == 0o700


def test_an_interrupted_creation_is_finished(path):
    path.mkdir()
    (path / "lock").touch()
    (path / ".version.abc").write_bytes(b"soj")
    with StateFolder.open(path, "agent"):
        assert (path / "version").read_text() == "sojourn agent 1\n"


def test_in_use_by_another_process_until_that_is_gone(path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(StateInUse, match=rf"state folder {path} is in use by process {process.pid}; stop that one"):
            StateFolder.open(path, "agent")
        process.send_signal(signal.SIGKILL)
    StateFolder.open(path, "agent").close()


def test_in_use_within_the_process(path):
    with StateFolder.open(path, "agent") as folder:
        with pytest.raises(StateInUse, match=rf"this process \({os.getpid()}\)"):
            StateFolder.open(path, "agent")
        folder.close()
        folder.close()
        StateFolder.open(path, "agent").close()


@pytest.mark.parametrize(
    ("line", "error", "text"),
    [
        ("sojourn agent 2\n", StateVersion, "newer Sojourn .*version 2.* reads 1.*nothing was changed: upgrade"),
        ("sojourn agent 0\n", StateVersion, "version 0.*nothing was changed"),
        ("sojourn coordinator 1\n", ConfigError, "folder of a Sojourn coordinator, not of a agent|give another folder"),
        ("", StoreError, "damaged; it should read 'sojourn agent 1'"),
        ("sojourn agent one\n", StoreError, "damaged"),
        ("\udcff agent 1", StoreError, "damaged"),
    ],
)
def test_folders_that_are_not_for_us_are_left_as_they_are(path, line, error, text):
    StateFolder.open(path, "agent").close()
    (path / "version").write_bytes(line.encode(errors="surrogateescape"))
    (path / "kept").write_bytes(b"data")
    with pytest.raises(error, match=text):
        StateFolder.open(path, "agent")
    assert (path / "version").read_bytes() == line.encode(errors="surrogateescape")
    assert (path / "kept").read_bytes() == b"data"
    (path / "version").write_text("sojourn agent 1\n")
    StateFolder.open(path, "agent").close()  # not left locked


def test_folders_of_something_else_are_not_touched(path):
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    (path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="holds files but is no state folder"):
        StateFolder.open(path, "agent")
    assert [entry.name for entry in path.iterdir()] == ["thesis.tex"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_missing_folder_is_not_always_made(path):
    with pytest.raises(ConfigError, match="no state folder of a Sojourn agent"):
        StateFolder.open(path, "agent", create=False)
    assert not path.exists()


def test_a_file_is_no_folder(path):
    path.write_bytes(b"")
    with pytest.raises(UsageError, match="is not a folder"):
        StateFolder.open(path, "agent")


def test_lock_names_nobody_when_the_file_does_not(tmp_path):
    lock = FileLock.acquire(tmp_path / "lock", "this thing")
    (tmp_path / "lock").write_bytes(b"\xff\xfe")
    with pytest.raises(StateInUse, match="this thing is in use by another process"):
        FileLock.acquire(tmp_path / "lock", "this thing")
    lock.release()


def test_write_atomic_replaces_whole_files(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two", 0o640)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640

    def broken(fd):
        raise OSError("no disk")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="no disk"):
        write_atomic(path, b"three")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("there", [False, True])
def test_undo_removes_what_open_made_and_nothing_else(tmp_path, there):
    path = tmp_path / "state"
    if there:
        path.mkdir()
    StateFolder.open(path, "agent").undo()
    assert path.exists() == there
    StateFolder.open(path, "agent").close()
    StateFolder.open(path, "agent").undo()  # it was a state folder before
    assert (path / "version").is_file()
    (tmp_path / "other").mkdir()
    folder = StateFolder.open(tmp_path / "other", "agent")
    (tmp_path / "other" / "mine").write_text("kept")
    folder.undo()
    assert [each.name for each in (tmp_path / "other").iterdir()] == ["mine"]
    StateFolder.open(path, "agent").close()  # what was undone is unlocked
