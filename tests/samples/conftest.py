"""Makes the first sample importable, as its own runner does."""

from __future__ import annotations

import sys
from pathlib import Path

HOSPITALS = Path(__file__).resolve().parents[2] / "samples" / "01_hospitals"
sys.path.insert(0, str(HOSPITALS))
