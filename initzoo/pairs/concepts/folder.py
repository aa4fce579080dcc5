"""Where the bundled catalog is."""

from __future__ import annotations

from pathlib import Path

__all__ = ["catalog_folder"]


def catalog_folder() -> Path:
    """The bundled catalog: beside the package in a source checkout, inside it once installed."""
    package = Path(__file__).resolve().parents[2]
    beside = package.parent / "catalog"
    return beside if (beside / "concepts.toml").is_file() else package / "catalog"
