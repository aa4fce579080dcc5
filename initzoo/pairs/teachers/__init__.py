"""Teachers: they make the pairs from which a network learns an edit.

A teacher is a list of filters, a folder of pairs, a Python function, a diffusion model, or another subclass
of `Teacher`. OpenCV is imported when the first filter runs, diffusers when a model edits its first photo.
"""

from initzoo.pairs.teachers.diffusion import DiffusionTeacher
from initzoo.pairs.teachers.filters.operators import FAMILIES, Operator, Parameter, Step, check_step
from initzoo.pairs.teachers.filters.teacher import OPERATORS, FilterTeacher
from initzoo.pairs.teachers.folder import FolderTeacher
from initzoo.pairs.teachers.function import FunctionTeacher, load_teacher
from initzoo.pairs.teachers.rows import AbsentTeacher, parse_teacher
from initzoo.pairs.teachers.teacher import TEACHER_ID, Refused, TaughtPair, Teacher, edit_checked

__all__ = [
    "FAMILIES",
    "OPERATORS",
    "TEACHER_ID",
    "AbsentTeacher",
    "DiffusionTeacher",
    "FilterTeacher",
    "FolderTeacher",
    "FunctionTeacher",
    "Operator",
    "Parameter",
    "Refused",
    "Step",
    "TaughtPair",
    "Teacher",
    "check_step",
    "edit_checked",
    "load_teacher",
    "parse_teacher",
]
