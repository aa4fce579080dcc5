"""The index of a zoo: a parquet table with one row per checkpoint, ordered by concept id."""

from initzoo.zoo.index.checkpoints import Index
from initzoo.zoo.index.files import write_index, write_index_tables, write_sorted_index
from initzoo.zoo.index.rows import SCORES, IndexRow, Match, Part, problem_of

__all__ = [
    "SCORES",
    "Index",
    "IndexRow",
    "Match",
    "Part",
    "problem_of",
    "write_index",
    "write_index_tables",
    "write_sorted_index",
]
