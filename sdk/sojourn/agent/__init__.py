"""The embeddable agent runtime: what an app starts."""
