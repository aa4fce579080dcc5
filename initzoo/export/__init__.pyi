from .formats import FORMATS as FORMATS
from .formats import export as export
