from .crops import CropPlan as CropPlan
from .crops import make_crops as make_crops
from .crops import quick_crops as quick_crops
from .run import train_generator as train_generator
from .settings import QUICK_TRAINING as QUICK_TRAINING
from .settings import GeneratorSettings as GeneratorSettings
from .settings import Stage as Stage
from .settings import TrainingData as TrainingData
