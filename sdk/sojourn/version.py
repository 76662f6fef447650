"""The version of this distribution, where everything may import it."""

from typing import Final

__all__ = ["VERSION"]

VERSION: Final = "0.1.0"
