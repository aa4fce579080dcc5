from .run import Example as Example
from .run import Finetuned as Finetuned
from .run import draw_batch as draw_batch
from .run import run_finetune as run_finetune
from .settings import GAN_LOSSES as GAN_LOSSES
from .settings import FinetuneSettings as FinetuneSettings
from .trainer import Trainer as Trainer
