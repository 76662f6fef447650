"""Rules about the source itself, each shown to see a breach: what is pure, who verifies, which primitives there are."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from sojourn.testing.fleet import BIN

HOME = Path(__file__).resolve().parents[2]
ROOTS = ("sdk/sojourn", "edge_agent/sojourn_agent", "coordinator/sojourn_coordinator", "policies/sojourn_policies")
IMPURE = frozenset(
    ("asyncio", "os", "onnxruntime", "pathlib", "pickle", "random", "secrets", "shutil", "socket", "sqlite3", "ssl")
) | frozenset(("subprocess", "tempfile", "threading", "time", "websockets"))

# The one place for each kind of untrusted bytes.
VERIFIERS = {
    "records": "sdk/sojourn/codec/records.py",
    "documents": "sdk/sojourn/crypto/trust.py",
    "document fields": "sdk/sojourn/crypto/checks.py",
    "signed wrappers": "sdk/sojourn/crypto/documents.py",
    "programs": "sdk/sojourn/vm/verifier.py",
    "snapshots": "sdk/sojourn/vm/restore.py",
    "blocks": "sdk/sojourn/datoms/block.py",
    "streams of tensors": "sdk/sojourn/datoms/packing.py",
    "updates": "sdk/sojourn/datoms/updates.py",
    "statements": "coordinator/sojourn_coordinator/rounds/statement.py",
    "wire messages": "sdk/sojourn/wire/messages.py",
    "graphs": "sdk/sojourn/interpreters/admission.py",
    "plans": "sdk/sojourn/interpreters/manifest.py",
}

# Who may touch which primitive.
SIGNATURES = frozenset(("sdk/sojourn/crypto", "sdk/sojourn/registrar/messages.py"))
CIPHERS = frozenset(("sdk/sojourn/crypto/suite.py",))
OTHER_HASHES = frozenset(("md5", "sha1", "sha224", "sha384", "sha512", "blake2b", "blake2s", "sha3_256", "new"))
OTHER_CIPHERS = frozenset(("ChaCha20Poly1305", "AESCCM", "AESOCB3", "AESSIV", "AESGCMSIV", "Fernet", "Cipher"))


def sources() -> Iterator[tuple[str, str]]:
    """Every source file: its path from the repository's root, and its text."""
    for root in ROOTS:
        for path in sorted((HOME / root).rglob("*.py")):
            yield path.relative_to(HOME).as_posix(), path.read_text(encoding="utf-8")


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def imports(text: str) -> set[str]:
    """Top-level names of the modules that a source imports, wherever it does."""
    found = set()
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def names(text: str) -> set[str]:
    """Every name and attribute that a source mentions."""
    nodes = list(ast.walk(parsed(text)))
    mentioned = {node.id for node in nodes if isinstance(node, ast.Name)}
    return mentioned | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def breaches(files: Iterable[tuple[str, str]]) -> set[str]:
    """What breaks a rule of this module, as text."""
    found = set()
    for path, text in files:
        used, mentioned = imports(text), names(text)
        if path in VERIFIERS.values() and used & IMPURE:
            found.add(f"{path} verifies and imports {sorted(used & IMPURE)}")
        elsewhere = not any(path.startswith(home) for home in SIGNATURES)
        if elsewhere and mentioned & {"Ed25519PublicKey", "Ed25519PrivateKey", "verify_signature"}:
            found.add(f"{path} makes or verifies signatures beside the trusted set")
        if path not in CIPHERS and mentioned & {"AESGCM", "hpke"}:
            found.add(f"{path} seals beside the suite")
        if "hashlib" in used and mentioned & OTHER_HASHES & attributes(text, "hashlib"):
            found.add(f"{path} uses another hash than SHA-256")
        if mentioned & OTHER_CIPHERS:
            found.add(f"{path} uses another cipher than AES-256-GCM")
        if used & {"pickle", "marshal", "shelve", "dill"}:
            found.add(f"{path} imports a pickle")
    return found


def attributes(text: str, module: str) -> set[str]:
    """The attributes that a source reads of a module."""
    return {
        node.attr
        for node in ast.walk(parsed(text))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module
    }


def test_verification_is_pure_and_in_one_place_and_primitives_are_the_suites() -> None:
    assert breaches(sources()) == set()
    known = {path for path, _ in sources()}
    assert set(VERIFIERS.values()) <= known


BREACHES = {
    "io in a verifier": (VERIFIERS["documents"], "import time", "verifies and imports"),
    "a second verifier": ("sdk/sojourn/agent/desk.py", "ed25519.Ed25519PublicKey.from_public_bytes(b'')", "signatures"),
    "sealing by hand": ("sdk/sojourn/agent/answers.py", "AESGCM(b'')", "seals beside the suite"),
    "another hash": ("sdk/sojourn/codec/hashing.py", "hashlib.sha512(b'')", "another hash"),
    "another cipher": ("sdk/sojourn/crypto/suite.py", "ChaCha20Poly1305(b'')", "another cipher"),
    "a pickle": ("sdk/sojourn/streams/table.py", "import pickle", "pickle"),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_seen(name: str) -> None:
    path, line, told = BREACHES[name]
    text = (HOME / path).read_text(encoding="utf-8")
    assert breaches([(path, text)]) == set()
    (breach,) = breaches([(path, f"{text}\n{line}\n")])
    assert path in breach
    assert told in breach


# The import contracts, with the tool that CI runs


PLANTED = {
    "vm": ("sdk/sojourn/vm/step.py", "import time", "Pure packages"),
    "labels": ("sdk/sojourn/labels/lattice.py", "import random", "Pure packages"),
    "wire": ("sdk/sojourn/wire/flow.py", "import asyncio", "Pure packages"),
    "rounds": ("coordinator/sojourn_coordinator/rounds/phase.py", "import socket", "Pure packages"),
    "floors": ("sdk/sojourn/crypto/suite.py", "import sojourn.agent.desk", "Imports point one way"),
    "apart": ("edge_agent/sojourn_agent/cli.py", "import sojourn_coordinator", "never import each other"),
}


def lint(home: Path) -> str:
    """What the import linter says about the sources under `home`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str((home / root).parent) for root in ROOTS)}
    ran = subprocess.run(
        [str(BIN / "lint-imports"), "--no-cache", "--config", str(home / "pyproject.toml")],
        cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "Contracts" in ran.stdout, ran.stdout + ran.stderr
    return ran.stdout


def test_the_import_contracts_see_each_breach(tmp_path: Path) -> None:
    for root in ROOTS:
        shutil.copytree(HOME / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HOME / "pyproject.toml", tmp_path)
    assert "0 broken" in lint(tmp_path)
    for path, line, _ in PLANTED.values():
        file = tmp_path / path
        file.write_text(f"{file.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    report = lint(tmp_path)
    assert "3 broken" in report
    for path, line, contract in PLANTED.values():
        module = path.partition("/")[2].removesuffix(".py").replace("/", ".")
        assert f"{module} -> {line.removeprefix('import ')}" in report
        assert any(contract in line and "BROKEN" in line for line in report.splitlines())


def test_ci_runs_what_a_newcomer_runs_and_the_contracts() -> None:
    script = (HOME / ".ci" / "run").read_text(encoding="utf-8")
    steps = [line.split()[1:] for line in script.splitlines() if line.startswith("make ")]
    assert steps[0] == ["test"]
    assert {"lint", "types", "arch"} <= {word for step in steps[1:] for word in step}
    assert "set -e" in script, "one failure is a failure"
