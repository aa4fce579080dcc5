"""Passes over example pairs: kept with the weight generator, verified, and used where they are better."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cli_running import run, succeed
from test_fitting import mild, pairs_of
from zoo_fixtures import add_generator, make_zoo

from initzoo.errors import ChecksumMismatch, InvalidGenerator
from initzoo.generator import (
    PairDenoiser,
    PairPasses,
    PairView,
    Request,
    WeightGenerator,
    pass_gradient,
    refine,
)
from initzoo.generator.encoders import Context
from initzoo.generator.shape import DenoiserShape
from initzoo.zoo import refresh_manifest
from initzoo.zoo.candidates import find_candidates
from initzoo.zoo.zoo import Zoo

SHAPE = DenoiserShape(n_blocks=3, block_size=16, n_word_values=4, width=48, n_layers=2)


def denoiser(seed: int = 0, *, changed: bool = True) -> PairDenoiser:
    torch.manual_seed(seed)
    made = PairDenoiser(SHAPE).eval().requires_grad_(False)
    if changed:
        made.leave.normal_(std=0.1)
    return made


def view_of(model: PairDenoiser, n_pairs: int, n_read: int) -> tuple[torch.Tensor, PairView]:
    torch.manual_seed(1)
    blocks = torch.randn(2, 3, 16)
    pairs = torch.rand(2, n_read, 2, 3, 32, 32) * 2 - 1
    mask = (torch.arange(n_read) < n_pairs).expand(2, -1)
    context = Context(torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.bool))
    tokens, bias = model.read(pairs, mask, context)
    return blocks, PairView(torch.randn(2, 3, 16), torch.tensor([0.1, 0.2]), tokens, bias)


def test_an_untrained_denoiser_leaves_adapters_as_they_are() -> None:
    model = denoiser(changed=False)
    blocks, view = view_of(model, 4, 4)
    torch.testing.assert_close(model(blocks, view, 0), blocks)


def test_missing_pairs_do_not_count() -> None:
    model = denoiser()
    blocks, view = view_of(model, 2, 5)
    padded = replace(view, tokens=view.tokens.clone())
    padded.tokens[:, -3:] = 7.0  # tokens of the three pairs that are not there
    torch.testing.assert_close(model(blocks, view, 1), model(blocks, padded, 1))
    seen = replace(view, tokens=view.tokens.clone())
    seen.tokens[:, -4] = 7.0
    assert (model(blocks, view, 1) - model(blocks, seen, 1)).abs().max() > 1e-3


def test_only_the_direction_of_the_gradient_and_three_facts_count() -> None:
    model = denoiser()
    blocks, view = view_of(model, 3, 3)
    larger = replace(view, gradient=view.gradient * 1000, loss=view.loss * 1000)
    model.facts.weight.zero_()
    torch.testing.assert_close(model(blocks, view, 0), model(blocks, larger, 0), atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def zoo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny zoo whose weight generator has a denoiser of pairs."""
    with mild():
        folder = make_zoo(tmp_path_factory.mktemp("zoos") / "mild")
        generator_folder = add_generator(folder)
    generator = WeightGenerator.from_pretrained(generator_folder)
    torch.manual_seed(3)
    pairs = PairDenoiser(replace(generator.config.shape, n_layers=1))
    with torch.no_grad():
        pairs.leave.normal_(std=0.01)
    weights = {name: value.half().numpy() for name, value in pairs.state_dict().items()}
    generator.with_pairs(pairs.shape, weights).save_pretrained(generator_folder, force=True)
    (generator_folder / "calibration.json").unlink(missing_ok=True)
    refresh_manifest(folder)
    return folder


def test_a_saved_denoiser_of_pairs_is_read_again(zoo_folder: Path, tmp_path: Path) -> None:
    generator = Zoo.from_pretrained(zoo_folder).generator
    assert generator.reads_pairs
    generator.save_pretrained(tmp_path / "again")
    again = WeightGenerator.from_pretrained(tmp_path / "again")
    for name in ("config.json", "pairs.safetensors", "model.safetensors"):
        kept = zoo_folder / "model" / "weight_generator" / "tiny" / name
        assert (tmp_path / "again" / name).read_bytes() == kept.read_bytes()
    zoo = Zoo.from_pretrained(zoo_folder)
    base = zoo.recipe.build_base(zoo.base()).requires_grad_(False)
    pairs = pairs_of(lambda image: image // 2)
    start = torch.zeros(base.n_adapter_values)
    one, other = (refine(base, start, pairs, made.pair_passes("night")) for made in (generator, again))
    assert (one - start).abs().max() > 1e-3
    assert torch.equal(one, other)
    assert not torch.equal(one, refine(base, start, pairs, generator.pair_passes()))  # without words


def test_passes_see_the_gradient_of_the_error_of_images(zoo_folder: Path) -> None:
    zoo = Zoo.from_pretrained(zoo_folder)
    base = zoo.recipe.build_base(zoo.base()).requires_grad_(False)
    torch.manual_seed(0)
    flat = 0.05 * torch.randn(1, base.n_adapter_values)
    shown = torch.rand(1, 2, 2, 3, 16, 16) * 2 - 1
    mask = torch.tensor([[True, False]])
    gradient, loss = pass_gradient(base, lambda values: values, flat, shown, mask)
    expected = (base(shown[0, :1, 0], flat[0]) - shown[0, :1, 1]).abs().mean()
    torch.testing.assert_close(loss[0], expected)
    direction = torch.randn_like(flat)
    moved = [
        pass_gradient(base, lambda values: values, flat + step * direction, shown, mask)[1]
        for step in (-1e-3, 1e-3)
    ]
    slope = float(moved[1] - moved[0]) / 2e-3
    assert slope == pytest.approx(float((gradient * direction).sum()), rel=0.05)


def test_a_short_fit_takes_refined_candidates_where_they_are_better(zoo_folder: Path) -> None:
    zoo = Zoo.from_pretrained(zoo_folder)
    request = Request("night", pairs_of(lambda image: 255 - image), seconds=0.2)
    candidates = find_candidates(zoo, request)
    fitted = zoo.fit(request, candidates).metadata.fitting
    without = zoo.fit(request, candidates, with_passes=False).metadata.fitting
    assert 0 <= fitted.n_candidates - without.n_candidates <= 2  # those of two that became better
    assert fitted.loss_after < fitted.loss_untouched
    longer = [zoo.fit(replace(request, seconds=0.6), candidates, with_passes=used) for used in (True, False)]
    assert longer[0].metadata.fitting == longer[1].metadata.fitting


def test_passes_that_make_a_candidate_worse_are_dropped(zoo_folder: Path, monkeypatch) -> None:
    zoo = Zoo.from_pretrained(zoo_folder)
    request = Request("night", pairs_of(lambda image: 255 - image), seconds=0.2)
    candidates = find_candidates(zoo, request)
    expected = zoo.fit(request, candidates, with_passes=False).metadata.fitting
    monkeypatch.setattr(PairPasses, "__call__", lambda self, base, adapters, *crops: adapters + 3.0)
    found = zoo.fit(request, candidates).metadata.fitting
    assert (found.start, found.n_candidates) == (expected.start, expected.n_candidates)
    monkeypatch.setattr(PairPasses, "__call__", lambda self, base, adapters, *crops: adapters * torch.nan)
    assert zoo.fit(request, candidates).metadata.fitting.start == expected.start


def test_damaged_weights_of_pairs_are_named(zoo_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(zoo_folder, tmp_path / "zoo")
    path = tmp_path / "zoo" / "model" / "weight_generator" / "tiny" / "pairs.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    generator = WeightGenerator.from_pretrained(path.parent)
    assert generator.generate("night").any()  # words need none of it
    with pytest.raises(ChecksumMismatch, match=r"pairs\.safetensors': expected sha256 "):
        generator.pair_passes()
    path.unlink()
    with pytest.raises(InvalidGenerator, match=r"pairs\.safetensors': cannot be read"):
        WeightGenerator.from_pretrained(path.parent).pair_passes()
    result = run("verify", "--zoo", tmp_path / "zoo")
    assert result.exit_code == 1
    assert "pairs.safetensors" in result.output


def test_weights_of_other_sizes_are_refused(zoo_folder: Path, tmp_path: Path) -> None:
    generator = Zoo.from_pretrained(zoo_folder).generator
    weights = dict(generator._pair_weights())
    weights["norm.bias"] = weights["norm.bias"][:-1]
    generator.with_pairs(generator.config.pairs, weights).save_pretrained(tmp_path / "other")
    with pytest.raises(InvalidGenerator, match=r"tensor 'norm.bias': expected \(48,\), found \(47,\)"):
        WeightGenerator.from_pretrained(tmp_path / "other").pair_passes()
    assert "norm.bias" in run("verify", tmp_path / "other" / "config.json").output


def test_verify_checks_the_file(zoo_folder: Path) -> None:
    succeed("verify", "--zoo", zoo_folder)
