"""Encoders: from what is asked for to the context tokens that denoisers see."""

from __future__ import annotations

from initzoo.files.digests import DamagedFile
from initzoo.generator.encoders.encoder import Context, Encoder, Lessons, Taught
from initzoo.generator.encoders.words import WordsEncoder

__all__ = ["ENCODERS", "Context", "Encoder", "Lessons", "Taught", "WordsEncoder", "encoder_class"]

ENCODERS: dict[str, type[Encoder]] = {"words": WordsEncoder}
"""The encoders by the names that config files know them by."""


def encoder_class(name: object) -> type[Encoder]:
    """The encoder that a config file names.

    Raises:
        DamagedFile: this version of initzoo does not know it.
    """
    if not isinstance(name, str) or name not in ENCODERS:
        raise DamagedFile(f"names the encoder {str(name)[:40]!r}, known are {', '.join(ENCODERS)}")
    return ENCODERS[name]
