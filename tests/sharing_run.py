"""Compare adapters with a shared A and with a free one, on a zoo: `python -m tests.sharing_run --zoo ZOO`.

Every concept is fitted from the mean adapter on the zoo's base, for the same steps on the same crops: once B
and bias alone, with the A that all share, and once with A as well, which then is another for each concept.
Held-out concepts are fitted too, and their weights are predicted from those of the train concepts by ridge
regression on the words and letter groups of their prompts. Each way has its own best rate of A and ridge.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from initzoo.generator import hash_grams
from initzoo.networks import Adapted
from initzoo.pairs import (
    Concept,
    load_concepts,
    load_photos,
    make_pairs,
    score_images,
    scoring_pairs,
    training_photos,
)
from initzoo.training.harvest.updates import draw_crops
from initzoo.zoo import Zoo

N_STEPS, N_CROPS, CROP, N_PHOTOS, SEED = 60, 4, 64, 24, 0
RATE, BETAS = 8e-3, (0.8, 0.95)
RATES_OF_A = (3e-4, 1e-3, 3e-3)
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0)
N_TUNED = 3


def fit(base: Adapted, concept: Concept, photos: Sequence[np.ndarray], rate_of_a: float) -> Tensor:
    """Fit an adapter, and A too if its rate is above 0. Returns A and adapter, flat."""
    model = copy.deepcopy(base).requires_grad_(False)
    adapter = torch.zeros(base.n_adapter_values, requires_grad=True)
    groups = [{"params": [adapter], "lr": RATE}]
    if rate_of_a:
        groups.append({"params": list(model.shared.requires_grad_()), "lr": rate_of_a})
    rates = [group["lr"] for group in groups]
    optimizer = torch.optim.Adam(groups, betas=BETAS)
    made = make_pairs(concept.teacher, photos, n_pairs=N_PHOTOS, patch_size=192, seed=SEED)
    pairs = list(zip(made.inputs, made.targets, strict=True))
    rng = np.random.default_rng(SEED)
    for step in range(N_STEPS):
        inputs, targets = draw_crops(pairs, n_crops=N_CROPS, crop_size=CROP, rng=rng, grid=8)
        optimizer.zero_grad()
        (model(inputs, adapter) - targets).abs().mean().backward()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - step / N_STEPS)
        optimizer.step()
    return torch.cat([*(part.detach().flatten() for part in model.shared), adapter.detach()])


def psnr_of(base: Adapted, values: Tensor, pairs: tuple[list[np.ndarray], list[np.ndarray]]) -> float:
    """The PSNR of a network with these A and adapter, dB."""
    model = copy.deepcopy(base).requires_grad_(False)
    *parts, adapter = values.split([part.numel() for part in model.shared] + [model.n_adapter_values])
    for shared, part in zip(model.shared, parts, strict=True):
        shared.copy_(part.view_as(shared))
    model.fold(adapter)
    inputs, targets = pairs
    return float(score_images([model.network.edit(photo) for photo in inputs], targets).psnr)


def predict(train: Tensor, known: np.ndarray, asked: np.ndarray, ridge: float) -> Tensor:
    """Ridge regression from unit vectors of words to weights."""
    mean = train.mean(0)
    kernel = torch.from_numpy(known @ known.T).float() + ridge * torch.eye(len(known))
    return mean + torch.from_numpy(asked @ known.T).float() @ torch.linalg.solve(kernel, train - mean)


def words_of(concept: Concept) -> np.ndarray:
    """The words and letter groups of a concept's prompts as a unit vector."""
    counts = np.zeros(2048)
    for prompt in concept.prompts:
        np.add.at(counts, hash_grams(prompt, len(counts)), 1.0)
    return counts / np.linalg.norm(counts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the two ways."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zoo", required=True)
    parser.add_argument("--concepts", type=Path, required=True, help="concepts file of the zoo")
    parser.add_argument("--photos", type=Path, help="folder of photos; the bundled ones by default")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    zoo = Zoo.from_pretrained(chosen.zoo)
    base = zoo.config.recipe.build_base(zoo.base()).requires_grad_(False)
    photos = training_photos(load_photos(chosen.photos, split="train"), N_PHOTOS, seed=SEED)
    concepts = load_concepts(chosen.concepts)
    train = [concept for concept in concepts if concept.split == "train"]
    unseen = [concept for concept in concepts if concept.split == "heldout-composed"]
    shown = load_photos(chosen.photos, split="score")
    scoring = {concept.id: scoring_pairs(concept.teacher, shown) for concept in [*train[:N_TUNED], *unseen]}

    def score(values: Sequence[Tensor], concepts: Sequence[Concept]) -> float:
        return float(
            np.mean(
                [psnr_of(base, value, scoring[one.id]) for value, one in zip(values, concepts, strict=True)]
            )
        )

    tuned = train[:N_TUNED]
    rate = max(RATES_OF_A, key=lambda r: score([fit(base, concept, photos, r) for concept in tuned], tuned))
    known, asked = (np.stack([words_of(concept) for concept in part]) for part in (train, unseen))
    for name, rate_of_a in (("shared A", 0.0), (f"free A, rate {rate:g}", rate)):
        fitted = torch.stack([fit(base, concept, photos, rate_of_a) for concept in train])
        own = score([fit(base, concept, photos, rate_of_a) for concept in unseen], unseen)
        predicted = max(score(list(predict(fitted, known, asked, ridge)), unseen) for ridge in RIDGES)
        mean = score([fitted.mean(0)] * len(unseen), unseen)
        n_values = base.n_adapter_values + (sum(p.numel() for p in base.shared) if rate_of_a else 0)
        sys.stdout.write(
            f"{name}: {n_values:,} values a concept; {len(unseen)} held-out concepts: mean {mean:.2f} dB, "
            f"predicted by ridge {predicted:.2f}, fitted {own:.2f}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
