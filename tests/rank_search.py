"""Search the ranks of a recipe's adapters for a number of values, on a zoo: `python -m tests.rank_search`.

The error on a concept has a gradient for the weights of each layer. In coordinates in which the layer's
inputs are white, B can follow what of it lies in the r directions of A. The best directions for all concepts
are the first right singular vectors of their gradients, one above the other, and the squares of the first r
singular values, of all squares, are the share that they reach. From small ranks on, the rank of that layer
is doubled which reaches least, as long as the values suffice. What a layer's gradient is worth beside that of
another is left out: first-order, the last layer would be worth more than all others together.

    initzoo harvest --recipe e2gan-256-w16 --concepts examples/forty-looks.toml --fit-steps 1 --out looks
    python -m tests.rank_search --zoo looks
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from initzoo.networks import ImageNetwork, build_network, layer_moments, layers_of, to_images
from initzoo.pairs import load_concepts, load_photos, make_pairs, training_photos
from initzoo.zoo import Zoo

N_CROPS, SIDE, SEED = 8, 64, 0
DAMPING = 0.01
"""Share of the inputs' mean power that is added to all directions of them."""

LARGEST = 64
"""One more than the largest rank."""


def spectra_of(network: ImageNetwork, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """What each direction of a layer's inputs is worth to the concepts, by layer, falling.

    Args:
        network: with the weights from which adapters start.
        batches: inputs and targets of each concept, `(n, 3, height, width)` each.
    """
    layers = layers_of(network)
    moments = layer_moments(network, torch.cat([inputs[:2] for inputs, _ in batches]))
    roots = {}
    for name in layers:
        square = torch.from_numpy(moments[name][:-1, :-1])  # without the bias
        sizes, directions = torch.linalg.eigh(square)
        roots[name] = (directions * (sizes + DAMPING * sizes.mean()).rsqrt()) @ directions.T
    rows: dict[str, list[Tensor]] = {name: [] for name in layers}
    for inputs, targets in batches:
        loss = (network(inputs) - targets).square().mean()
        gradients = torch.autograd.grad(loss, [layer.weight for layer in layers.values()])
        white = [
            gradient.flatten(1).double() @ roots[name]
            for name, gradient in zip(layers, gradients, strict=True)
        ]
        size = math.sqrt(sum(float(part.square().sum()) for part in white))  # each concept counts alike
        for name, part in zip(layers, white, strict=True):
            rows[name].append(part / size)
    return {name: torch.linalg.svdvals(torch.cat(parts)).square() for name, parts in rows.items()}


def search_ranks(
    spectra: Mapping[str, Tensor],
    n_out: Mapping[str, int],
    n_values: int,
    *,
    fixed: Mapping[str, int],
    smallest: int = 4,
) -> dict[str, int]:
    """Ranks of an adapter of at most so many values, by layer.

    Args:
        spectra: as from `spectra_of`.
        n_out: outputs of each layer that gets an adapter, in its order.
        n_values: values of all B and biases.
        fixed: ranks that are not searched.
        smallest: one more than the rank to begin with; a power of two, so that blocks are full.
    """
    columns = {name: smallest for name in n_out if name not in fixed}

    def reached(name: str) -> float:
        return float(spectra[name][: columns[name] - 1].sum() / spectra[name].sum())

    left = n_values - sum(n_out[name] * (rank + 1) for name, rank in fixed.items())
    left -= sum(n_out[name] * size for name, size in columns.items())
    while True:
        able = [
            name
            for name, size in columns.items()
            if size < LARGEST and n_out[name] * size <= left and 2 * size - 1 < len(spectra[name])
        ]
        if not able:
            return {name: fixed[name] if name in fixed else columns[name] - 1 for name in n_out}
        least = min(able, key=reached)
        left -= n_out[least] * columns[least]
        columns[least] *= 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the ranks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zoo", required=True, help="a zoo of the recipe's network, of any width")
    parser.add_argument("--concepts", type=Path, help="concepts file; the bundled one by default")
    parser.add_argument("--limit", type=int, default=60, help="train concepts, spread over the file")
    parser.add_argument("--width", type=int, default=64, help="width at which values are counted")
    parser.add_argument("--values", type=int, default=92_160, help="values of an adapter: 360 blocks of 256")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    zoo = Zoo.from_pretrained(chosen.zoo)
    recipe = zoo.config.recipe
    network = recipe.network.build()
    network.load_arrays({name: value for name, value in zoo.base().items() if not name.endswith(".A")})
    photos = training_photos(load_photos(None, split="train"), N_CROPS, seed=SEED)
    batches = []
    concepts = [concept for concept in load_concepts(chosen.concepts) if concept.split == "train"]
    concepts.sort(key=lambda concept: concept.id)
    for place in range(min(chosen.limit, len(concepts))):
        teacher = concepts[len(concepts) * place // min(chosen.limit, len(concepts))].teacher
        pairs = make_pairs(teacher, photos, n_pairs=N_CROPS, patch_size=SIDE, seed=SEED)
        batches.append((to_images(pairs.inputs), to_images(pairs.targets)))
    spectra = spectra_of(network, batches)
    sizes = recipe.network.sizes | {"width": chosen.width}
    layers = layers_of(build_network(recipe.network.kind, sizes))
    n_out = {name: len(layers[name].weight) for name in recipe.ranks}
    # Eight words have seven directions beside their mean; the few outputs of `end` leave its block to its A.
    fixed = {name: rank for name, rank in recipe.ranks.items() if name in ("words", "end")}
    ranks = search_ranks(spectra, n_out, chosen.values, fixed=fixed)
    for name, rank in ranks.items():
        share = float(spectra[name][:rank].sum() / spectra[name].sum())
        sys.stdout.write(f"{name} = {rank}  # {share:.3f}\n")
    n_values = sum(n_out[name] * (rank + 1) for name, rank in ranks.items())
    sys.stdout.write(f"# {n_values} values at width {chosen.width}\n")


if __name__ == "__main__":
    main()
