"""Export: inits as files that other tools read."""

from initzoo.export.formats import FORMATS, export

__all__ = ["FORMATS", "export"]
