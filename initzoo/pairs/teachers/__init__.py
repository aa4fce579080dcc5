"""Teachers: what makes pairs, so that a network can learn an edit.

A teacher is filters, a folder of pairs, a Python function, or any other subclass of `Teacher`. OpenCV is
loaded when the first filter runs, not on import.
"""

from initzoo.pairs.teachers.filters.operators import FAMILIES, Operator, Parameter, Step, check_step
from initzoo.pairs.teachers.filters.teacher import OPERATORS, FilterTeacher
from initzoo.pairs.teachers.folder import FolderTeacher
from initzoo.pairs.teachers.function import FunctionTeacher, load_teacher
from initzoo.pairs.teachers.rows import AbsentTeacher, parse_teacher
from initzoo.pairs.teachers.teacher import TEACHER_ID, Teacher, edit_checked

__all__ = [
    "FAMILIES",
    "OPERATORS",
    "TEACHER_ID",
    "AbsentTeacher",
    "FilterTeacher",
    "FolderTeacher",
    "FunctionTeacher",
    "Operator",
    "Parameter",
    "Step",
    "Teacher",
    "check_step",
    "edit_checked",
    "load_teacher",
    "parse_teacher",
]
