"""The registrar: the party that says which agents exist. It is not the coordinator, and shares no key with it.

Setting up, enrolling and revoking, as the command line does it::

    layout = create_trust(directory)                         # sojourn.crypto: root, registrar, coordinator, author
    with RegistrarState.open(layout.registrar) as state:
        token = state.mint_token("hospital-1", url="wss://127.0.0.1:7444", ttl_ms=3_600_000)
        async with await serve(state, "127.0.0.1", 7444) as server:
            await server.serve_forever()

    identity = Identity.generate("agent", parse_token(token).name)       # on the agent's machine
    identity.save(folder / "identity.key")                               # before asking
    (await enrol(token, identity)).save(folder)

    revise_roster(layout.root, revoke=[agent.key])           # sojourn.crypto: with the root key at hand
"""

from sojourn.registrar.client import ENTRY_FILE, Enrolment, enrol
from sojourn.registrar.messages import EnrolmentReply, EnrolmentToken, parse_token
from sojourn.registrar.server import RegistrarServer, serve
from sojourn.registrar.state import EnrolledAgent, IssuedToken, RegistrarState

__all__ = [
    "ENTRY_FILE",
    "EnrolledAgent",
    "Enrolment",
    "EnrolmentReply",
    "EnrolmentToken",
    "IssuedToken",
    "RegistrarServer",
    "RegistrarState",
    "enrol",
    "parse_token",
    "serve",
]
