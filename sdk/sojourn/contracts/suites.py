"""Suite identifiers. A suite fixes every algorithm; a receiver that does not know a suite refuses the document."""

from __future__ import annotations

from typing import Final

__all__ = ["SUITE_1"]

SUITE_1: Final = 1
"""Ed25519 (RFC 8032) signatures; HPKE (RFC 9180) base mode with X-Wing (ML-KEM-768 and X25519), HKDF-SHA256 and
AES-256-GCM to wrap keys; AES-256-GCM on bodies; SHA-256. Hybrid signatures will come under another number."""
