"""Public helpers for tests of programs, streams and deployments that are built on Sojourn."""
