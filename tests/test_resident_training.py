"""Training with all data in the memory of a device, which draws batches itself; cores stand in for one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_generator_training import VOCABULARY, bytes_of, data, plan_for, quick, train, zoo_folder

from initzoo.errors import TrainingError
from initzoo.generator import DenoiserShape, PhraseEncoder, build_denoiser
from initzoo.generator.encoders import PhrasesEncoder
from initzoo.generator.tokens import TokenVectors
from initzoo.pairs import catalog_folder
from initzoo.training.generator import resident
from initzoo.training.generator.muon import MatrixSteps
from initzoo.training.generator.resident import ResidentDraws
from initzoo.training.generator.settings import Stage

__all__ = ["data", "zoo_folder"]

DEVICE = torch.device("cpu", 0)  # as any accelerator, it is not the plain device


@pytest.fixture(scope="module")
def phrases() -> PhraseEncoder:
    return PhraseEncoder.from_folder(catalog_folder() / "model" / "phrase_encoder")


def settings(**changes):
    brief = Stage(40, 4, 3e-3, n_warmup=2)
    return quick(encoder="phrases", weights=replace(brief, n_steps=20), behaviour=brief, **changes)


def draws_of(concept_values, *, n_practice=0, n_crops=2, **changes):
    """Draws whose crops have the number of their concept in every pixel."""
    crops = [np.full((5, 2, 3, 48, 48), value, np.uint8) for value in range(concept_values)]
    for own in crops:
        own[:, 1] += 100  # targets
    residuals = torch.arange(concept_values - n_practice).float()[:, None, None] + torch.zeros(1, 2, 8)
    return ResidentDraws(
        Stage(1, 64, 1e-3, pure_share=0.5),
        quick(n_crops=n_crops, crop_size=16, **changes),
        lambda concepts: concepts,
        residuals,
        n_practice=n_practice,
        crops=crops,
        grid=8,
    )


def test_crops_and_residuals_are_of_the_drawn_concepts() -> None:
    part = draws_of(6, n_practice=2).draw(16)
    assert part.crops.shape == (128, 2, 3, 16, 16)
    rows = part.concepts.repeat_interleave(2)
    assert (part.crops[:, 0] == rows[:, None, None, None]).all()
    assert (part.crops[:, 1] == 100 + rows[:, None, None, None]).all()
    assert torch.equal(part.context, part.concepts)
    is_practice = part.concepts >= 4
    assert int(is_practice.sum()) == 32
    known = ~is_practice
    assert torch.equal(part.clean[known][:, 0, 0], part.concepts[known].float())
    assert (part.clean[is_practice] == 0).all()
    assert (part.timesteps[is_practice] == 1).all()
    assert 0 < int((part.timesteps[known] < 1).sum()) < 32


def test_large_parts_and_whole_crops_are_drawn_on_request() -> None:
    assert draws_of(3).draw().crops.shape[-1] == 48
    assert draws_of(3).draw(32).crops.shape[-1] == 32


def test_contexts_on_a_device_are_wordings_of_the_right_concepts(data, phrases) -> None:
    taught = replace(settings(), word_noise=0.0, token_dropout=0.0, learned_dropout=0.0)
    lessons = PhrasesEncoder(phrases).lessons(data, taught)
    concepts = torch.tensor([0, 1, 2, 3] * 10)
    batch = lessons.on_device(DEVICE).draw(concepts)
    for row, concept in enumerate(concepts.tolist()):
        first, last = lessons.first[concept], lessons.first[concept + 1]
        known = [lessons.states[lessons.ends[one] : lessons.ends[one + 1]] for one in range(first, last)]
        states = batch.vectors[row][batch.mask[row]].numpy()
        [place] = [one for one, own in enumerate(known) if np.array_equal(own.astype(np.float32), states)]
        np.testing.assert_array_equal(batch.phrase[row], lessons.phrases[first + place].astype(np.float32))
    varied = PhrasesEncoder(phrases).lessons(data, settings(token_dropout=0.9, word_noise=0.3))
    other = varied.on_device(DEVICE).draw(concepts)
    assert other.mask.any(dim=1).all()
    assert other.mask.sum() < batch.mask.sum()
    assert other.phrase.isnan().all(dim=1).any()
    assert not other.phrase.isnan().all()


def test_both_stages_learn(data, phrases, tmp_path, kept_photo_folder) -> None:
    seen: dict[str, list[float]] = {}

    def watch(stage: str, n_done: int, n_all: int, loss: float) -> None:
        if n_done:
            seen.setdefault(stage, []).append(loss)

    made = train(
        data, phrases, settings(), tmp_path / "run", kept_photo_folder, device=DEVICE, callback=watch
    )
    assert seen["weights"][-1] < 1
    assert seen["behaviour"][-1] < seen["behaviour"][0]
    assert made.generate("night", seed=1).any()
    assert (tmp_path / "run" / "curve.csv").read_text().count("behaviour") > 0


def test_a_killed_training_goes_on_from_its_snapshot(
    data, phrases, tmp_path, kept_photo_folder, monkeypatch
) -> None:
    monkeypatch.setattr(resident, "SNAPSHOT_SECONDS", 0.0)
    begun: list[int] = []

    def stop(stage: str, n_done: int, n_all: int, loss: float) -> None:
        begun.append(n_done)
        if stage == "behaviour" and n_done == 40:
            raise KeyboardInterrupt

    options = {"device": DEVICE, "crop_plan": plan_for(kept_photo_folder)}
    twice = settings(whole_share=0.5)
    with pytest.raises(KeyboardInterrupt):
        train(data, phrases, twice, tmp_path / "run", kept_photo_folder, callback=stop, **options)
    begun.clear()
    train(data, phrases, twice, tmp_path / "run", kept_photo_folder, callback=lambda *a: begun.append(a[1]))
    assert 20 in begun


def test_matrices_learn_by_muon_and_go_on_from_a_snapshot(
    data, phrases, tmp_path, kept_photo_folder, monkeypatch
) -> None:
    monkeypatch.setattr(resident, "SNAPSHOT_SECONDS", 0.0)
    chosen = settings(optimizer="muon", log_error=True, medium_share=0.25, whole_share=0.25)
    chosen = replace(chosen, behaviour=replace(chosen.behaviour, n_held=20))
    losses: list[float] = []

    def watch(stage: str, n_done: int, n_all: int, loss: float) -> None:
        if stage == "behaviour" and n_done:
            losses.append(loss)

    made = train(data, phrases, chosen, tmp_path / "run", kept_photo_folder, device=DEVICE, callback=watch)
    assert losses[-1] < losses[0]
    assert made.config.training["optimizer"] == "muon"
    [kept] = (tmp_path / "run").glob("behaviour-*/snapshots/*/state.safetensors")
    momentum = load_file(kept)["momentum"]
    assert momentum.any()
    # Nothing is left to do, so the weights are those of the snapshot.
    again = train(data, phrases, chosen, tmp_path / "run", kept_photo_folder, device=DEVICE)
    assert bytes_of(again, tmp_path / "again") == bytes_of(made, tmp_path / "made")


def test_embeddings_and_biases_have_no_orthogonal_steps() -> None:
    denoiser = build_denoiser("joint", DenoiserShape(n_blocks=3, block_size=32, n_word_values=24), seed=0)
    steps = MatrixSteps.of(denoiser)
    flat = torch.cat([torch.full((one.numel(),), float(n)) for n, one in enumerate(denoiser.parameters())])
    names = [name for name, _ in denoiser.named_parameters()]
    found = {
        names[int(value)] for own in steps.spans.values() for a, b in own for value in flat[a:b].unique()
    }
    assert {"enter", "leave", "words.project.weight", "between.0.key_value.weight"} <= found
    assert not {name for name in found if name.endswith(("bias", "places", "norm.weight"))}
    values, gradient = torch.zeros_like(flat), torch.ones_like(flat)
    steps.take(values, gradient, torch.tensor(0.1))
    moved = {names[int(value)] for value in flat[values != 0].unique()}
    assert moved == found
    assert {names[int(value)] for value in flat[gradient == 0].unique()} == found


def test_muon_on_cores_is_refused_in_words(data, phrases, tmp_path, kept_photo_folder) -> None:
    with pytest.raises(TrainingError, match="needs an accelerator"):
        train(data, phrases, settings(optimizer="muon"), tmp_path / "run", kept_photo_folder)
    assert not (tmp_path / "run").exists()


def test_passes_over_pairs_are_taught(data, phrases, tmp_path, kept_photo_folder, monkeypatch) -> None:
    monkeypatch.setattr(resident, "_STEPS_AHEAD", 6)
    taught = settings(pairs=Stage(24, 2, 3e-3, n_warmup=2), n_pair_layers=1)
    losses: list[float] = []

    def watch(stage: str, n_done: int, n_all: int, loss: float) -> None:
        if stage == "pairs" and n_done:
            losses.append(loss)

    options = {"device": DEVICE, "crop_plan": replace(plan_for(kept_photo_folder), crop_size=64)}
    made = train(data, phrases, taught, tmp_path / "run", kept_photo_folder, callback=watch, **options)
    assert losses[-1] < losses[0]
    assert made.reads_pairs
    assert made.config.pairs.n_layers == 1
    assert bytes_of(made, tmp_path / "a")
    assert (tmp_path / "a" / "pairs.safetensors").stat().st_size > 10_000


def test_words_without_a_phrase_encoder_cannot_teach_passes(data, tmp_path, kept_photo_folder) -> None:
    words = TokenVectors.tiny(VOCABULARY.split(), n_values=8)
    taught = quick(pairs=Stage(2, 2, 1e-3))
    with pytest.raises(TrainingError, match="passes over pairs need --encoder phrases, not words"):
        train(data, words, taught, tmp_path / "run", kept_photo_folder)
