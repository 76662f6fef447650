"""The operators' listener: an HTTP API and an event stream over TLS, behind a bearer token."""

from sojourn_coordinator.api.app import create_app

__all__ = ["create_app"]
