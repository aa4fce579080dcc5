"""Train on your own pairs in plain PyTorch, from weights of the zoo.

The network is an `nn.Module`: any loop, optimizer and loss will do. This one has twenty lines.

    python examples/own_pairs_pytorch.py my-pairs --start "sepia" --steps 100 --out mine.safetensors
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from initzoo import AutoNetwork, Init
from initzoo.pairs import open_pairs

parser = argparse.ArgumentParser(description="Train on pairs in plain PyTorch.")
parser.add_argument("pairs", help="folder or dataset of pairs, as `initzoo finetune` reads them")
parser.add_argument("--start", default="base", help="words, a file, or the name of a scheme")
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--crop", type=int, default=96, help="side of the crops, pixels")
parser.add_argument("--out", default="mine.safetensors")
options = parser.parse_args()

pairs = open_pairs(options.pairs)
network = AutoNetwork.from_pretrained(options.start).train()
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=options.steps)
random = torch.Generator().manual_seed(0)

for step in range(options.steps):
    crops = []
    for number in torch.randint(len(pairs.train), (8,), generator=random).tolist():
        pair = pairs.train[number]
        both = torch.from_numpy(np.stack([pair.given, pair.wanted]))  # (2, height, width, 3)
        top, left = (
            int(torch.randint(side - options.crop + 1, (), generator=random)) for side in both.shape[1:3]
        )
        crops.append(both[:, top : top + options.crop, left : left + options.crop])
    before, after = (torch.stack(crops).permute(1, 0, 4, 2, 3) / 127.5 - 1).unbind()
    loss = (network(before) - after).abs().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    if step % 20 == 0 or step + 1 == options.steps:
        print(f"step {step + 1}: loss {loss.item():.4f}")

Init.from_model(network, name="mine").save(options.out, force=True)
print(f"initzoo apply {options.out} PHOTO -o edited.png")
