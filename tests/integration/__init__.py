"""The whole system as real processes. A package, so that one federation serves all its modules and ends with them."""
