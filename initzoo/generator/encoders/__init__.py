"""Encoders: turn requests into the context tokens that denoisers read."""

from __future__ import annotations

from initzoo.files import DamagedFile
from initzoo.generator.encoders.encoder import Context, Encoder, Lessons, Taught, TextModel
from initzoo.generator.encoders.phrase_values import N_COLOURS
from initzoo.generator.encoders.phrases import PhrasesEncoder
from initzoo.generator.encoders.words import WordsEncoder

__all__ = [
    "ENCODERS",
    "N_COLOURS",
    "Context",
    "Encoder",
    "Lessons",
    "PhrasesEncoder",
    "Taught",
    "TextModel",
    "WordsEncoder",
    "encoder_class",
]

ENCODERS: dict[str, type[Encoder]] = {"words": WordsEncoder, "phrases": PhrasesEncoder}
"""The encoders by their names in config files."""


def encoder_class(name: object) -> type[Encoder]:
    """Return the encoder of a name in a config file.

    Raises:
        DamagedFile: this version of initzoo does not know the encoder.
    """
    if not isinstance(name, str) or name not in ENCODERS:
        raise DamagedFile(f"names the encoder {str(name)[:40]!r}, known are {', '.join(ENCODERS)}")
    return ENCODERS[name]
