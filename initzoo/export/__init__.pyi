from .formats import FORMATS as FORMATS
from .formats import Format as Format
from .formats import export as export
