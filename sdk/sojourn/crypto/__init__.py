"""Identities, documents, envelopes and bodies: who said what to whom, and that nobody else could read or change it.

Rules of this package:

* `suite` chooses the algorithms; `trust` alone decides whether a document holds, without I/O or a clock; `identity`,
  `keyfiles` and `setup` alone touch files; `certificates` alone knows TLS.
* Verifying and opening raise; nothing returns a bool. Exact received bytes are hashed, stored and passed on.
* Private keys and content keys show in no `repr`, error, log or pickle.
"""

from sojourn.crypto.bodies import BodyOpener, BodySealer, open_body, seal_body, sealed_length
from sojourn.crypto.certificates import (
    Authority,
    check_certificate,
    client_context,
    peer_digest,
    pinned_context,
    request_certificate,
    server_context,
    spiffe_uri,
)
from sojourn.crypto.documents import Signer, sign_document, sign_payload
from sojourn.crypto.envelope import ANSWER, ORDER, EnvelopeHeader, open_envelope, peek_envelope, seal_envelope
from sojourn.crypto.identity import (
    CERTIFICATE_FILE,
    IDENTITY_FILE,
    Identity,
    RootKey,
    read_root_public,
    write_root_public,
)
from sojourn.crypto.replay import ReplayGuard, ReplayStore
from sojourn.crypto.setup import TrustLayout, create_trust, load_trusted_set, revise_roster
from sojourn.crypto.trust import TrustedSet, Verified, VerifiedBundle, VerifiedOrder, VerifiedSubmission

__all__ = [
    "ANSWER",
    "CERTIFICATE_FILE",
    "IDENTITY_FILE",
    "ORDER",
    "Authority",
    "BodyOpener",
    "BodySealer",
    "EnvelopeHeader",
    "Identity",
    "ReplayGuard",
    "ReplayStore",
    "RootKey",
    "Signer",
    "TrustLayout",
    "TrustedSet",
    "Verified",
    "VerifiedBundle",
    "VerifiedOrder",
    "VerifiedSubmission",
    "check_certificate",
    "client_context",
    "create_trust",
    "load_trusted_set",
    "open_body",
    "open_envelope",
    "peek_envelope",
    "peer_digest",
    "pinned_context",
    "read_root_public",
    "request_certificate",
    "revise_roster",
    "seal_body",
    "seal_envelope",
    "sealed_length",
    "server_context",
    "sign_document",
    "sign_payload",
    "spiffe_uri",
    "write_root_public",
]
