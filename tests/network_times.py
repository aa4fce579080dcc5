"""Print what networks of the bundled recipes cost on one core, in this process: `make network-times`.

Forward and backward are of one image of 256 x 256 pixels, the latter with the mean absolute error. Editing
adds the mirrored border. Pulling reads an adapter from a zoo on disk, checks its digest and merges it. The
seconds are those of the processor, which other programs on the machine change little.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import numpy as np
import torch
from times import processor
from zoo_fixtures import make_zoo

from initzoo.training.harvest.recipe import load_recipe
from initzoo.zoo import Zoo

RECIPES = ("starter-2", "e2gan-256-w16", "e2gan-256-w32", "e2gan-256")
N_RUNS, SIDE = 5, 256


def main(arguments: Sequence[str]) -> None:
    """Print a row for each recipe that is named; all of them by default."""
    torch.set_num_threads(1)
    report(f"machine: {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    report("medians of five, seconds of a core")
    report("recipe           weights  adapter  blocks  forward  with backward     edit     pull")
    for name in arguments or RECIPES:
        recipe = load_recipe(name).checkpoint
        network = recipe.network.build()
        images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
        photo = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)

        def step(network: torch.nn.Module = network, images: torch.Tensor = images) -> None:
            (network(images) - images.flip(3)).abs().mean().backward()

        with torch.inference_mode():
            forward = median_seconds(lambda network=network, images=images: network(images))
        both = median_seconds(step)
        edit = median_seconds(lambda network=network, photo=photo: network.edit(photo))
        with tempfile.TemporaryDirectory() as folder:
            make_zoo(Path(folder) / "zoo", recipe=recipe)
            pull = median_seconds(
                lambda folder=folder: Zoo.from_pretrained(Path(folder) / "zoo").pull("watercolour")
            )
        n_weights = sum(parameter.numel() for parameter in network.parameters())
        layout = recipe.layout
        report(
            f"{name:14} {n_weights:9,} {layout.n_values:8,} {layout.n_blocks:7} {forward:8.3f} {both:14.3f} "
            f"{edit:8.3f} {pull:8.3f}"
        )


def median_seconds(run: Callable[[], object]) -> float:
    """Median of five, after one run that warms up."""
    run()
    times = []
    for _ in range(N_RUNS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


def report(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
