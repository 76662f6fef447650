"""Aggregation policies by name, found as entry points of the group `sojourn.policies`.

The packaged ones live in `sojourn_policies`; a third party registers its own the same way. A policy is a class:

```python
class Policy(Protocol):
    def __init__(self, base: Mapping[str, np.ndarray], spec: UpdateSpec) -> None: ...
    def add(self, datoms: Iterable[bytes]) -> int: ...              # one update's stream; its integer weight
    def result(self) -> tuple[dict[str, np.ndarray], list[bytes], bytes]: ...  # tensors, datoms, root
```
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from sojourn.contracts import Scalar, UpdateSpec
from sojourn.errors import ConfigError

__all__ = ["aggregate", "policy_class"]

Tensors = Mapping[str, np.ndarray[Any, Any]]


class Policy(Protocol):
    """What the fold of one round offers; see the module's docstring."""

    def __init__(self, base: Tensors, spec: UpdateSpec) -> None: ...

    def add(self, datoms: Iterable[bytes | memoryview]) -> int:
        """Fold one update's stream; returns its integer weight."""
        ...

    def result(self) -> tuple[dict[str, np.ndarray[Any, Any]], list[bytes], bytes]:
        """The next model: tensors, datoms and root."""
        ...


def policy_class(name: str) -> type[Policy]:
    """The policy registered under `name`.

    Raises:
        ConfigError: no installed package registers it.
    """
    found = {point.name: point for point in entry_points(group="sojourn.policies")}
    if name not in found:
        have = ", ".join(sorted(found)) or "none"
        raise ConfigError(
            f"no aggregation policy {name!r} is installed (found: {have}); install the package that has it"
        )
    loaded: type[Policy] = found[name].load()
    return loaded


def aggregate(
    policy: Mapping[str, Scalar], base: Tensors, spec: UpdateSpec, updates: Sequence[Iterable[bytes | memoryview]]
) -> tuple[dict[str, np.ndarray[Any, Any]], bytes]:
    """Fold whole updates under a job's policy: the next model's tensors and its root."""
    fold = policy_class(str(policy["name"]))(base, spec)
    for datoms in updates:
        fold.add(datoms)
    tensors, _, root = fold.result()
    return tensors, root
