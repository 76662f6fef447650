"""`sojourn-agent`, and `python -m sojourn_agent`."""

from sojourn.entry import start

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    start("sojourn_agent.cli")


if __name__ == "__main__":
    main()
