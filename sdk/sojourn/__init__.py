"""Sojourn: an edge-to-cloud federated privacy SDK."""

from typing import TYPE_CHECKING, Any

from sojourn.version import VERSION

if TYPE_CHECKING:
    from sojourn.vm.authoring import continuation

__version__ = VERSION

__all__ = ["__version__", "continuation"]


def __getattr__(name: str) -> Any:
    """Import `continuation` on first use, so that importing the package costs nothing."""
    if name == "continuation":
        from sojourn.vm.authoring import continuation  # noqa: PLC0415 - lazy on purpose

        return continuation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
