"""Train on pairs with Lightning; a callback starts any module's network from weights of the zoo.

python examples/own_pairs_lightning.py my-pairs --start "film halation" --out mine.safetensors
"""

from __future__ import annotations

import argparse

import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from initzoo import AutoNetwork, Init
from initzoo.pairs import open_pairs

parser = argparse.ArgumentParser(description="Train on pairs with Lightning.")
parser.add_argument("pairs", help="folder or dataset of pairs, as `initzoo finetune` reads them")
parser.add_argument("--start", default="base", help="words, a file, or the name of a scheme")
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--crop", type=int, default=96, help="side of the crops, pixels")
parser.add_argument("--out", default="mine.safetensors")
options = parser.parse_args()


class StartFromZoo(lightning.Callback):
    """Loads weights of the zoo into `module.network` before the first step of a training."""

    def __init__(self, start: str) -> None:
        self.start = start

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.ckpt_path is None:  # a training that goes on has its weights
            pl_module.network.load_state_dict(AutoNetwork.from_pretrained(self.start).state_dict())


class Look(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = AutoNetwork.from_pretrained("he_normal")

    def training_step(self, batch: list[Tensor], number: int) -> Tensor:
        before, after = batch
        loss = (self.network(before) - after).abs().mean()
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def middle(pixels: Tensor) -> Tensor:
    top, left = ((side - options.crop) // 2 for side in pixels.shape[:2])
    return pixels[top : top + options.crop, left : left + options.crop].permute(2, 0, 1) / 127.5 - 1


pairs = open_pairs(options.pairs).train
images = [[middle(torch.from_numpy(side)) for side in (pair.given, pair.wanted)] for pair in pairs]
before, after = (torch.stack(side) for side in zip(*images, strict=True))
look = Look()
trainer = lightning.Trainer(
    max_steps=options.steps,
    callbacks=[StartFromZoo(options.start)],
    logger=False,
    enable_checkpointing=False,
    enable_model_summary=False,
)
trainer.fit(look, DataLoader(TensorDataset(before, after), batch_size=8, shuffle=True))
print(f"loss {trainer.callback_metrics['loss']:.4f}")
Init.from_model(look.network.cpu(), name="mine").save(options.out, force=True)
