"""The second form of execution: verified functions as generated Python functions, made lazily and only where hot.

`driver` says which form executes, `forms` keeps what was made, `shape` and its bases write it, `meter` makes the state
canonical again. Nothing here is state or format; the stepper has the last word on every rare case.
"""

from sojourn.vm.projection.driver import advance

__all__ = ["advance"]
