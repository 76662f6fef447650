"""The coordinator: agent gateway, rounds, ledger, storage, operator API."""
