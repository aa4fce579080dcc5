from .run import BASELINES as BASELINES
from .run import OUTPUTS as OUTPUTS
from .run import GeneratorEvaluation as GeneratorEvaluation
from .run import evaluate_generator as evaluate_generator
from .settings import EvaluationSettings as EvaluationSettings
