"""The edge agent's daemon: command line, configuration and data around `sojourn.agent`."""
