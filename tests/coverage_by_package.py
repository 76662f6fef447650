"""Coverage as a table of packages, from coverage's JSON report: `python tests/coverage_by_package.py REPORT.json`.

A package is what an import contract names, such as `sojourn.vm`; a module beside packages counts to the line of its
distribution. Statements and branches count together, as in coverage's own total.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

COUNTS = ("covered_lines", "num_statements", "covered_branches", "num_branches")
SOURCES = ("sdk", "edge_agent", "coordinator", "policies")


def package_of(file: str) -> str:
    """The dotted name, at most two deep, of the package that a file belongs to."""
    parts = Path(file).parts
    start = max(parts.index(source) + 1 for source in SOURCES if source in parts)
    return ".".join(parts[start:-1][:2])


def main(report: str) -> None:
    """Print the table; its last line is the total."""
    packages: dict[str, Counter[str]] = {}
    for file, found in json.loads(Path(report).read_text(encoding="utf-8"))["files"].items():
        packages.setdefault(package_of(file), Counter()).update({key: found["summary"][key] for key in COUNTS})
    total = sum(packages.values(), Counter[str]())
    print(f"\n{'package':32}{'statements':>12}{'branches':>10}{'covered':>9}")
    for name, counts in (*sorted(packages.items()), ("total", total)):
        parts = counts["num_statements"] + counts["num_branches"]
        covered = (counts["covered_lines"] + counts["covered_branches"]) / max(parts, 1)
        print(f"{name:32}{counts['num_statements']:>12}{counts['num_branches']:>10}{covered:>9.1%}")


if __name__ == "__main__":
    main(sys.argv[1])
