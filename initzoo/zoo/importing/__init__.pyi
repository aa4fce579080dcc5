from .into_zoo import ImportReport as ImportReport
from .into_zoo import import_checkpoint as import_checkpoint
