"""What tests share."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOON = 60  # seconds within which a wait with a deadline of its own ends even on a busy machine; without one it takes minutes
