"""The phrase encoder: reads a whole phrase, and says which looks it asks for."""

from initzoo.generator.phrases.encoder import Confidence, PhraseConfig, PhraseEncoder, Reading
from initzoo.generator.phrases.grams import hash_grams
from initzoo.generator.phrases.shape import PhraseShape
from initzoo.generator.phrases.states import MAX_PHRASE_TOKENS, PhraseStates

__all__ = [
    "MAX_PHRASE_TOKENS",
    "Confidence",
    "PhraseConfig",
    "PhraseEncoder",
    "PhraseShape",
    "PhraseStates",
    "Reading",
    "hash_grams",
]
