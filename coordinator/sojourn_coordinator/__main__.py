"""`sojourn-coordinator`, and `python -m sojourn_coordinator`."""

from sojourn.entry import start

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    start("sojourn_coordinator.cli")


if __name__ == "__main__":
    main()
