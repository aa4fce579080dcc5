from .formats import FORMATS as FORMATS
from .formats import Format as Format
from .formats import export as export
from .precision import PRECISIONS as PRECISIONS
from .precision import PrecisionLoss as PrecisionLoss
