from .checkpoints.blend import blend_inits as blend_inits
from .checkpoints.init import Init as Init
from .checkpoints.recipe import Recipe as Recipe
from .errors import InitzooError as InitzooError
from .evaluation.calls import diagnose as diagnose
from .evaluation.calls import evaluate as evaluate
from .export.formats import export as export
from .generator.model import WeightGenerator as WeightGenerator
from .generator.request import Request as Request
from .training.auto import AutoNetwork as AutoNetwork
from .training.calls import finetune as finetune
from .training.calls import harvest as harvest
from .zoo.datasets import load_blocks as load_blocks
from .zoo.networks import push_to_hub as push_to_hub
from .zoo.zoo import Zoo as Zoo

__version__: str
