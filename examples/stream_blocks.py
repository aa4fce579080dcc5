"""Stream the weight blocks of a zoo, as training of a model of weights reads them: mean and spread by block.

Blocks come as a Hugging Face dataset, checkpoint after checkpoint, and are never in memory all at once. The
zoo is a folder, or a repo on the Hub at a revision, `owner/name@v1`.

    python examples/stream_blocks.py starter --split train --rows 20000
"""

from __future__ import annotations

import argparse
from itertools import islice

import torch
from torch.utils.data import DataLoader

from initzoo import Zoo, load_blocks

parser = argparse.ArgumentParser(description="Mean and spread of weight blocks, from a stream.")
parser.add_argument("zoo", help="a bundled zoo, a folder, or owner/name[@revision] on the Hub")
parser.add_argument("--split", default="train")
parser.add_argument("--rows", type=int, default=20_000, help="number of blocks to read")
options = parser.parse_args()

zoo = Zoo.from_pretrained(options.zoo)
rows = load_blocks(zoo, split=options.split, streaming=True).with_format("torch")  # the stream
n_blocks, size = zoo.layout.n_blocks, zoo.layout.block_size
count = torch.zeros(n_blocks, dtype=torch.float64)
mean, squares = torch.zeros(2, n_blocks, size, dtype=torch.float64)
batch_size = 256

for batch in islice(DataLoader(rows, batch_size=batch_size), -(-options.rows // batch_size)):
    for index, block in zip(batch["block_index"], batch["block"].double(), strict=True):
        if count.sum() == options.rows:
            break
        count[index] += 1  # Welford's running mean and squares: one pass is enough
        change = block - mean[index]
        mean[index] += change / count[index]
        squares[index] += change * (block - mean[index])

print(f"zoo {zoo.name}, revision {zoo.revision}: {int(count.sum())} blocks of split {options.split}")
spread = (squares / (count - 1).clamp(min=1)[:, None]).sqrt()
for index in range(n_blocks):
    print(
        f"block {index:2}  {int(count[index]):5} checkpoints  "
        f"mean {mean[index].mean():+.4f}  spread {spread[index].mean():.4f}"
    )
