"""Aggregation policies by name, found as entry points of the group `sojourn.policies`.

The packaged ones live in `sojourn_policies`; a third party registers its own the same way. A policy is a class:

```python
class Policy(Protocol):
    def __init__(self, base: Mapping[str, np.ndarray], spec: UpdateSpec, trained: Iterable[str]) -> None: ...
    def add(self, datoms: Iterable[bytes]) -> int: ...              # one update's stream; its integer weight
    def result(self) -> tuple[dict[str, np.ndarray], list[bytes], bytes]: ...  # tensors, datoms, root
```
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from sojourn.contracts import Scalar, UpdateSpec
from sojourn.errors import ConfigError

__all__ = ["Fold", "fold_of"]

Tensors = Mapping[str, np.ndarray[Any, Any]]


class Fold(Protocol):
    """What the fold of one round offers; see the module's docstring."""

    def __init__(self, base: Tensors, spec: UpdateSpec, trained: Iterable[str]) -> None: ...

    def add(self, datoms: Iterable[bytes | memoryview]) -> int:
        """Fold one update's stream; returns its integer weight."""
        ...

    def result(self) -> tuple[dict[str, np.ndarray[Any, Any]], list[bytes], bytes]:
        """The next model: tensors, datoms and root."""
        ...


def fold_of(policy: Mapping[str, Scalar], base: Tensors, spec: UpdateSpec, trained: Iterable[str]) -> Fold:
    """An empty fold under a job's policy.

    Args:
        policy: the job's policy record.
        base: the model that the updates are relative to.
        spec: of the phase's update.
        trained: names of the tensors that an update holds.

    Raises:
        ConfigError: no installed package registers the policy.
    """
    name = policy.get("name")
    found = {point.name: point for point in entry_points(group="sojourn.policies")}
    if not isinstance(name, str) or name not in found:
        have = ", ".join(sorted(found)) or "none"
        raise ConfigError(
            f"no aggregation policy {name!r} is installed (found: {have}); install the package that has it"
        )
    cls: type[Fold] = found[name].load()
    return cls(base, spec, trained)
