"""Train on pairs with Hugging Face Accelerate, from weights of the zoo: one GPU, several, or none.

accelerate launch examples/own_loop_accelerate.py my-pairs --start "film halation" --out mine.safetensors
"""

from __future__ import annotations

import argparse

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, Dataset

from initzoo import AutoNetwork, Init
from initzoo.pairs import open_pairs

parser = argparse.ArgumentParser(description="Train on pairs with Accelerate.")
parser.add_argument("pairs", help="folder or dataset of pairs, as `initzoo finetune` reads them")
parser.add_argument("--start", default="base", help="words, a file, or the name of a scheme")
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--crop", type=int, default=96, help="side of the crops, pixels")
parser.add_argument("--out", default="mine.safetensors")
options = parser.parse_args()


class Crops(Dataset[torch.Tensor]):
    """Crops of random places of pairs, values -1 to 1, shape `(2, 3, crop, crop)`: before and after."""

    def __init__(self, n_crops: int) -> None:
        self.pairs, self.n_crops = open_pairs(options.pairs).train, n_crops

    def __len__(self) -> int:
        return self.n_crops

    def __getitem__(self, number: int) -> torch.Tensor:
        pair = self.pairs[number % len(self.pairs)]
        both = torch.stack([torch.from_numpy(pair.given), torch.from_numpy(pair.wanted)])
        top, left = (int(torch.randint(side - options.crop + 1, ())) for side in both.shape[1:3])
        crop = both[:, top : top + options.crop, left : left + options.crop]
        return crop.permute(0, 3, 1, 2) / 127.5 - 1


set_seed(0)
accelerator = Accelerator()
network = AutoNetwork.from_pretrained(options.start).train()  # the start from the zoo
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
crops = DataLoader(Crops(8 * options.steps * accelerator.num_processes), batch_size=8)
network, optimizer, crops = accelerator.prepare(network, optimizer, crops)

for step, batch in enumerate(crops):
    loss = (network(batch[:, 0]) - batch[:, 1]).abs().mean()
    optimizer.zero_grad()
    accelerator.backward(loss)
    optimizer.step()
    if step % 20 == 0 or step + 1 == options.steps:
        accelerator.print(f"step {step + 1}: loss {loss.item():.4f}")

if accelerator.is_main_process:
    Init.from_model(accelerator.unwrap_model(network).cpu(), name="mine").save(options.out, force=True)
