"""Aggregation interpreters: how a coordinator combines updates."""
