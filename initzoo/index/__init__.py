"""The index of a zoo: a parquet table with a row a checkpoint, in the order of concept ids."""

from initzoo.index.checkpoints import Index
from initzoo.index.files import write_index, write_index_tables, write_sorted_index
from initzoo.index.rows import SCORES, IndexRow, Match

__all__ = [
    "SCORES",
    "Index",
    "IndexRow",
    "Match",
    "write_index",
    "write_index_tables",
    "write_sorted_index",
]
