"""`make fuzz-vm`: programs and states are changed at random, led by what of the machine each one reaches (atheris).

`python tests/fuzz/fuzz_vm.py --seconds 600` runs until the time is over or an input breaks a rule of `fuzz_oracle`;
that input is kept below `.fuzz-vm/`. Copy it to `tests/fuzz/findings/`, where a test tries it from then on, and mend
what it shows. What reached something new is kept in `.fuzz-vm/corpus`; `--keep` puts a small selection of it beside
the seeds in `tests/fuzz/corpus`.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import atheris

HERE = Path(__file__).parent
SEEDS, WORK = HERE / "corpus", Path(".fuzz-vm")
MOST_BYTES = 8_000
KEPT_BYTES = 1_500
KEPT = 60

sys.path.insert(0, str(HERE))
with atheris.instrument_imports(include=["sojourn.vm", "sojourn.codec"]):
    from fuzz_mutator import mutate
    from fuzz_oracle import check, pack_program, pack_state


def _mutated(data: bytes, size: int, seed: int) -> bytes:
    return mutate(data, size, seed, atheris.Mutate)


def _fuzz(seconds: int, seed: int) -> None:
    (WORK / "corpus").mkdir(parents=True, exist_ok=True)
    for path in sorted((HERE.parent / "vm" / "golden").glob("*.program")):
        program, snapshot = path.read_bytes(), path.with_suffix(".snapshot").read_bytes()
        for data in (pack_program(program), pack_state(program, snapshot)):
            (WORK / "corpus" / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    options = [
        f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", f"-artifact_prefix={WORK}/", "-timeout=20",
        "-rss_limit_mb=2048", "-len_control=0", f"-seed={seed}", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(WORK / "corpus"), str(SEEDS)], check, custom_mutator=_mutated)
    atheris.Fuzz()


def _merge(target: Path) -> None:
    """libFuzzer's own: it starts this file again by the first word, once for each crash that it meets."""
    again = f"{sys.executable} {Path(__file__).resolve()}"
    atheris.Setup([again, "-merge=1", f"-max_len={MOST_BYTES}", str(target), str(WORK / "corpus")], check)
    atheris.Fuzz()


def _keep() -> None:
    """Replace the seeds by the smallest of what was learnt: a selection that reaches as much as all of it."""
    target = WORK / "merged"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    subprocess.run([sys.executable, __file__, "--merge-into", str(target)], check=True)
    made = sorted(target.iterdir(), key=lambda path: path.stat().st_size)
    for path in SEEDS.iterdir():
        path.unlink()
    for path in [path for path in made if path.stat().st_size <= KEPT_BYTES][:: max(len(made) // KEPT, 1)]:
        data = path.read_bytes()
        (SEEDS / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def main() -> None:
    """The command line."""
    if any(word.startswith("-merge_control_file") for word in sys.argv):
        atheris.Setup(sys.argv, check)
        atheris.Fuzz()
        return
    parser = argparse.ArgumentParser(description="Fuzz the machine.")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0, help="0 is another one each time")
    parser.add_argument("--keep", action="store_true", help="take a selection of what was found into the repository")
    parser.add_argument("--merge-into", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.merge_into:
        _merge(Path(args.merge_into))
    elif args.keep:
        _keep()
    else:
        _fuzz(args.seconds, args.seed)


if __name__ == "__main__":
    main()
