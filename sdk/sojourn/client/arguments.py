"""Does a job have the arguments that its code names? Asked of the compiled programs, before anything is signed.

Only what is certain is refused, as in `sojourn.client.review`: see `sojourn.vm.arguments`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from sojourn.client.review import Code
from sojourn.contracts import Scalar
from sojourn.errors import UsageError
from sojourn.vm.arguments import argument_sites

__all__ = ["review_args"]


def review_args(code: Code, entry: str, args: Mapping[str, Scalar]) -> None:
    """Hold the literal keys of `order.args[...]` and `job.args[...]` against the job's arguments.

    Args:
        code: the program.
        entry: that starts.
        args: of the job.

    Raises:
        UsageError: a key that the job does not have.
    """
    for site in argument_sites(code.program, entry):
        if site.key in args:
            continue
        have = ", ".join(repr(key) for key in args) or "none"
        near = difflib.get_close_matches(site.key, args, 1)
        meant = f"did you mean {near[0]!r}? Write that, or" if near else "write one of these, or" if args else "please"
        raise UsageError(
            f"{code.where(site.line)}: {site.function}() reads args[{site.key!r}], which the job lacks; it has {have}; "
            f"{meant} pass args={{{site.key!r}: ...}}"
        )
