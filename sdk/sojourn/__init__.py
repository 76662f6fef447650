"""Sojourn: an edge-to-cloud federated privacy SDK."""

__version__ = "0.1.0"
