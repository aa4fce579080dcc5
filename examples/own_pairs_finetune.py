"""Train on your own pairs with `finetune`: from the base and from words, and say which start was better.

python examples/own_pairs_finetune.py my-pairs "sepia" --steps 100 --out mine.safetensors
"""

from __future__ import annotations

import argparse

from initzoo import finetune
from initzoo.training import FinetuneSettings

parser = argparse.ArgumentParser(description="Compare the base and words as starts.")
parser.add_argument("pairs", help="folder or dataset of pairs")
parser.add_argument("words", help="words for the look")
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--out", default="mine.safetensors")
options = parser.parse_args()

settings = FinetuneSettings(n_steps=options.steps)
results = {
    start: finetune(options.pairs, start=start, name="mine", settings=settings)
    for start in ("base", options.words)
}
for start, result in results.items():
    print(f"{start}: {result.start.psnr:.1f} -> {result.end.psnr:.1f} dB on pairs that were held out")
best = max(results, key=lambda start: results[start].end.psnr)
results[best].init.save(options.out, force=True)
print(f"{best} -> {options.out}")
