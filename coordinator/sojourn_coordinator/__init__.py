"""The coordinator: agent gateway, rounds, ledger, storage, operator API.

Rules of this package:

* `rounds/` decides and is pure; `store/` keeps; `gateway` and `api/` move bytes; the rest joins them for one job
  (`runner`, `effects`, `desk`) or for all (`service`, `fleet`).
* Bytes are synced before a transaction names them, and a peer is told only after the transaction.
* The coordinator is trusted with carrying, combining and recording, with nothing else (DESIGN.md section 7).
"""

__all__: list[str] = []
