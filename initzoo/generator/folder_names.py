"""Names of folders that readers of a zoo need, without what reads them."""

from __future__ import annotations

__all__ = ["PHRASE_FOLDER"]

PHRASE_FOLDER = "phrase_encoder"
"""Folder of the phrase encoder in the model folder of a zoo."""
