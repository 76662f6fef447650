"""`sojourn`, and `python -m sojourn`."""

from sojourn.entry import start

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    start("sojourn.client.cli")


if __name__ == "__main__":
    main()
