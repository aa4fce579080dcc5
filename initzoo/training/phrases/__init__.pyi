from .run import PhraseReport as PhraseReport
from .run import measure_lexicon as measure_lexicon
from .run import train_phrases as train_phrases
from .settings import PhraseSettings as PhraseSettings
