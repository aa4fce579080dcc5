"""Fits to example pairs: the best candidate wins, nothing gets worse, and odd pairs are named."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo_fixtures
from cli_running import fail, run, succeed
from zoo_fixtures import add_generator, kept_zoo, make_zoo, random_adapter

from initzoo.checkpoints.init import Fitting, Init
from initzoo.checkpoints.merge import merge_adapter
from initzoo.checkpoints.recipe import Recipe
from initzoo.errors import InvalidInit, InvalidPairs, InvalidRequest, InvalidWords
from initzoo.evaluation import FIT_METHODS
from initzoo.files.images import write_image
from initzoo.generator import fitting
from initzoo.generator.fitting import Candidate, fit_pairs, macs_per_pixel
from initzoo.generator.request import Request
from initzoo.pairs import folders
from initzoo.pairs.examples import MAX_EXAMPLES
from initzoo.pairs.scores import mean_psnr
from initzoo.pairs.sources import Pair, read_examples
from initzoo.zoo.candidates import find_candidates
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_zoo"]

SECONDS = 0.2


def mild_base(recipe: Recipe, seed: int = 0) -> dict[str, np.ndarray]:
    """A base that nearly passes the photo: random weights of large size would leave black and white only."""
    rng = np.random.default_rng(seed)
    network = recipe.network.build()
    network.blank()
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    for name, shape in recipe.base_shapes.items():
        if name not in weights or not name.startswith("skip"):
            weights[name] = rng.normal(scale=0.05, size=shape)
    return {name: np.asarray(value, np.float32) for name, value in weights.items()}


def mild_adapter(recipe: Recipe, seed: int) -> dict[str, np.ndarray]:
    """An adapter that changes what the photo passes through, and what is added to it."""
    adapter = {name: 0.1 * value for name, value in random_adapter(recipe, seed).items()}
    return {name: value.astype(np.float16).astype(np.float32) for name, value in adapter.items()}


def mild_weights(recipe: Recipe, seed: int) -> dict[str, np.ndarray]:
    """Weights of a fully trained network."""
    merged = merge_adapter(mild_base(recipe), mild_adapter(recipe, seed), recipe.layout)
    return {name: value + 0.05 * np.sign(value) for name, value in merged.items()}


@pytest.fixture(scope="module")
def mild_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny zoo with a weight generator, whose networks make photos of photos."""
    with mild():
        folder = make_zoo(tmp_path_factory.mktemp("zoos") / "mild")
        add_generator(folder)
    return folder


@contextmanager
def mild() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(zoo_fixtures, "random_base", mild_base)
        patched.setattr(zoo_fixtures, "random_adapter", mild_adapter)
        patched.setattr(zoo_fixtures, "random_weights", mild_weights)
        yield


@pytest.fixture
def zoo(mild_folder: Path) -> Zoo:
    return Zoo.from_pretrained(mild_folder)


def photo(seed: int, height: int = 64, width: int = 72) -> np.ndarray:
    """Smooth noise, as photos are rather smooth."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1)[:height, :width])


def pairs_of(edit, n: int = 6, **sizes: int) -> tuple[Pair, ...]:
    photos = [photo(seed, **sizes) for seed in range(n)]
    return tuple(Pair(f"pair {number}", one, edit(one)) for number, one in enumerate(photos))


def darker(image: np.ndarray) -> np.ndarray:
    return image // 2


def test_the_checkpoint_that_made_the_pairs_is_found_and_kept(zoo: Zoo, monkeypatch) -> None:
    monkeypatch.setattr(fitting, "_MIXED", 0)  # a mix may come as near
    pairs = pairs_of(zoo.checkpoint("watercolour").edit)
    init = zoo.pull(Request(pairs=pairs, seconds=SECONDS))
    metadata, found = init.metadata, init.metadata.fitting
    assert (metadata.origin, metadata.concept, metadata.wording) == ("fitted", "from-pairs", "")
    assert metadata.source == "fitted to 6 example pairs from checkpoint watercolour of zoo 'mild'"
    assert (found.start, found.n_pairs, found.n_held_back) == ("checkpoint watercolour", 5, 1)
    assert found.loss_after <= found.loss_before < 0.1 * found.loss_untouched
    assert found.n_candidates == len(find_candidates(zoo, Request(pairs=pairs, seconds=SECONDS)))
    expected, unseen = zoo.checkpoint("watercolour").edit, photo(99)
    assert np.abs(init.to_network().edit(unseen).astype(int) - expected(unseen)).mean() < 4


def test_a_fit_lowers_the_loss_on_pairs_that_no_step_saw(zoo: Zoo) -> None:
    base = zoo.recipe.build_base(zoo.base()).requires_grad_(False)
    start = Candidate("base", torch.zeros(base.n_adapter_values))
    short = fit_pairs(base, [start], pairs_of(darker), seconds=SECONDS).fitting
    long = fit_pairs(base, [start], pairs_of(darker), seconds=0.8).fitting
    assert short.loss_before == long.loss_before
    assert long.loss_after < short.loss_after < short.loss_before
    assert long.n_steps > 3 * short.n_steps > 0


def test_a_candidate_is_returned_as_it_was_if_steps_make_it_worse(zoo: Zoo, monkeypatch) -> None:
    monkeypatch.setattr(fitting, "_LOWEST_RATE", 50.0)
    monkeypatch.setattr(fitting, "_HIGHEST_RATE", 100.0)
    base = zoo.recipe.build_base(zoo.base()).requires_grad_(False)
    start = Candidate("start", torch.full((base.n_adapter_values,), 0.1))
    network = zoo.recipe.network.build()
    network.load_state_dict(dict(base.network.named_parameters()) | base.merged(start.adapter))
    fit = fit_pairs(base, [start], pairs_of(network.edit), seconds=SECONDS)
    assert torch.equal(fit.adapter, start.adapter)
    assert (fit.fitting.n_steps, fit.fitting.loss_after) == (0, fit.fitting.loss_before)


def test_equal_requests_give_equal_bytes_whatever_the_clock_and_the_threads(
    zoo: Zoo, mild_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request("gold pencil sketch", pairs=pairs_of(darker), seed=3, seconds=SECONDS)
    init = zoo.pull(request, warn=False)
    for clock in ("time", "monotonic", "perf_counter", "process_time"):
        monkeypatch.setattr(time, clock, lambda: 1e9)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = Zoo.from_pretrained(mild_folder).pull(request, warn=False)
    finally:
        torch.set_num_threads(n_threads)
    assert again.to_bytes() == init.to_bytes()
    assert zoo.pull(replace(request, seed=4), warn=False).sha256 != init.sha256
    renamed = tuple(replace(pair, name=f"other {pair.name}") for pair in request.pairs)
    assert zoo.pull(replace(request, pairs=renamed), warn=False).to_bytes() == init.to_bytes()


def test_a_fitted_init_is_written_and_read_with_all_that_is_known(zoo: Zoo, tmp_path: Path) -> None:
    init = zoo.pull(Request("gold pencil sketch", pairs=pairs_of(darker), seconds=SECONDS), warn=False)
    init.save(tmp_path / "mine.safetensors")
    read = Init.load(tmp_path / "mine.safetensors")
    assert read.metadata == init.metadata
    assert read.metadata.fitting.seconds == SECONDS
    assert init.metadata.wording == "gold pencil sketch"
    assert init.metadata.source.startswith("fitted to the words and 6 example pairs from ")
    for change in ({"fitting": None}, {"origin": "exact"}):
        with pytest.raises(InvalidInit, match="`fitting` must be given for origin 'fitted'"):
            replace(init, metadata=replace(init.metadata, **change))
    with pytest.raises(ValueError, match="pairs_sha256 must be 64 hex digits"):
        replace(init.metadata.fitting, pairs_sha256="?")
    with pytest.raises(ValueError, match="losses and seconds must be finite"):
        replace(init.metadata.fitting, loss_after=float("nan"))
    with pytest.raises(ValueError, match="number of candidates, pairs or steps"):
        replace(init.metadata.fitting, n_pairs=0)


def test_all_weights_are_fitted_unless_the_adapter_is_to_be_alone(zoo: Zoo) -> None:
    pairs = pairs_of(darker)
    request = Request(pairs=pairs, seconds=SECONDS)
    adapter, merged = zoo.pull(request, adapter_only=True), zoo.pull(request)
    assert (adapter.kind, adapter.metadata.has_detail) == ("adapter", False)
    assert (merged.kind, merged.metadata.has_detail) == ("merged", True)
    wanted = [pair.wanted for pair in pairs]
    untouched = mean_psnr([pair.given for pair in pairs], wanted)
    base, beyond = zoo.base(), []
    for init in (zoo.merge(adapter), merged):
        edit = init.to_network().edit
        assert mean_psnr([edit(pair.given) for pair in pairs], wanted) > untouched + 3
        # An adapter changes a layer along the rows of its A alone.
        change = (init.weights["detail.weight"] - base["detail.weight"]).reshape(len(base["detail.bias"]), -1)
        rows = base["detail.A"].reshape(len(base["detail.A"]), -1).astype(float)
        beyond.append(np.abs(change - change @ np.linalg.pinv(rows) @ rows).max() / np.abs(change).max())
    assert beyond[0] < 1e-4
    assert beyond[1] > 1e-2


def test_a_fully_trained_checkpoint_takes_part_with_its_detail(tmp_path: Path) -> None:
    with mild():
        zoo = Zoo.from_pretrained(make_zoo(tmp_path / "detailed", detailed=["watercolour"]))
    request = Request("watercolour", pairs=pairs_of(zoo.checkpoint("watercolour").edit), seconds=SECONDS)
    init = zoo.pull(request)
    assert init.metadata.fitting.start == "checkpoint watercolour with its detail"
    assert init.metadata.has_detail
    assert init.metadata.fitting.loss_before < 0.1 * init.metadata.fitting.loss_untouched
    exact = zoo.pull("watercolour")
    if init.metadata.fitting.n_steps == 0:
        assert all(np.array_equal(value, exact.weights[name]) for name, value in init.weights.items())
    alone = zoo.pull(request, adapter_only=True, warn=False)
    assert not alone.metadata.has_detail
    assert "detail" not in alone.metadata.fitting.start


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the candidates that took steps."""
    names: list[str] = []
    halve = fitting._Run._halve

    def seen(self, rivals, crops):
        names.extend(rival.candidate.name for rival in rivals)
        return halve(self, rivals, crops)

    monkeypatch.setattr(fitting._Run, "_halve", seen)
    return names


def test_a_checkpoint_that_words_name_takes_part_with_its_detail(zoo: Zoo, compared: list[str]) -> None:
    """However good others are without one."""
    detail = {name: np.zeros(shape, np.float32) for name, shape in zoo.recipe.weights}
    candidates = find_candidates(zoo, Request("night", pairs_of(darker)))
    named = next(one for one in candidates if one.name == "checkpoint night")
    whole = replace(named, name="night with its detail", detail=detail)
    bad = replace(named, adapter=named.adapter + 3, whole=lambda: whole)
    zoo.fit(Request("night", pairs_of(darker)), [bad if one is named else one for one in candidates])
    assert "night with its detail" in compared


def test_what_words_name_gets_no_steps_for_sure_where_something_else_is_nearer(
    zoo: Zoo, compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_MOST_RIVALS", 1)  # there are so few candidates that all would compete
    monkeypatch.setattr(fitting, "_MIXED", 0)
    pairs = pairs_of(zoo.checkpoint("watercolour").edit)
    candidates = find_candidates(zoo, Request("night", pairs))
    far = [replace(one, adapter=one.adapter + 3) if one.is_from_words else one for one in candidates]
    assert len([one for one in far if one.is_from_words]) > 1
    zoo.fit(Request("night", pairs), far)
    assert compared == ["base"]


def test_draws_of_the_same_take_one_place_in_the_mix(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    solved: list[int] = []
    solve = torch.linalg.solve

    def counted(matrix, values):
        solved.append(len(matrix))
        return solve(matrix, values)

    monkeypatch.setattr(torch.linalg, "solve", counted)
    base = zoo.recipe.build_base(zoo.base()).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    adapters = 0.1 * torch.randn(6, base.n_adapter_values, generator=generator)
    others = [Candidate(f"{number}", adapter) for number, adapter in enumerate(adapters)]
    start = Candidate("base", torch.zeros(base.n_adapter_values))
    for draws, n_others in (({}, 6), ({3: "words", 4: "words", 5: "words"}, 4), ({4: "a", 5: "b"}, 6)):
        given = [replace(one, draw_of=draws.get(number, "")) for number, one in enumerate(others)]
        solved.clear()
        fit_pairs(base, [start, *given], pairs_of(darker), seconds=SECONDS)
        assert solved[0] == n_others


def test_candidates_come_from_the_words_and_from_all_over_the_zoo(zoo: Zoo, kept_zoo: Path) -> None:
    names = [
        candidate.name for candidate in find_candidates(zoo, Request("navy to gold", seed=5, seconds=SECONDS))
    ]
    assert names[:3] == ["base", "mean adapter", "checkpoint navy-to-gold"]
    assert [name for name in names if "generated" in name] == [
        f"generated from the words, seed {seed}" for seed in (5, 6, 7)
    ]
    assert len(names) == len({*names})
    assert {f"checkpoint {concept_id}" for concept_id in zoo.index.ids} < {*names}
    plain = Zoo.from_pretrained(kept_zoo)
    without = [candidate.name for candidate in find_candidates(plain, Request(seconds=SECONDS))]
    assert without == ["base", *(f"checkpoint {concept_id}" for concept_id in zoo.index.ids)]
    train = find_candidates(zoo, Request("night", seconds=SECONDS), split="train")
    assert "checkpoint night" not in [candidate.name for candidate in train]
    with pytest.raises(InvalidWords, match="zzzz"):
        find_candidates(zoo, Request("zzzz"))


def test_fits_with_time_for_steps_leave_checkpoints_from_all_over_the_zoo_out(zoo: Zoo) -> None:
    names = [candidate.name for candidate in find_candidates(zoo, Request(seconds=0.5))]
    assert names == ["base", "mean adapter"]
    assert "checkpoint night" in [one.name for one in find_candidates(zoo, Request("night", seconds=0.5))]
    assert not any(one.kin for one in find_candidates(zoo, Request(seconds=0.5)))
    assert any(one.kin for one in find_candidates(zoo, Request(seconds=0.5), adapter_only=True))
    assert any(one.kin for one in find_candidates(zoo, Request(seconds=0.4)))


def test_neighbours_are_read_only_where_a_branch_is_good(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("initzoo.zoo.candidates._N_REPRESENTATIVES", 2)
    candidates = {one.name: one for one in find_candidates(zoo, Request(seconds=SECONDS))}
    branches = [one for one in candidates.values() if one.kin is not None]
    assert len(branches) == 2
    kin = [one.name for branch in branches for one in branch.kin()]
    assert kin == [f"checkpoint {concept_id}" for concept_id in zoo.index.ids]


def test_checkpoints_from_all_over_the_zoo_are_left_out_where_the_words_are_right(zoo: Zoo) -> None:
    """Steps bring more than looking at them."""
    exact = zoo.network(zoo.blocks("night"))
    pairs = pairs_of(exact.edit, 4)
    right, wrong = (
        zoo.pull(Request(words, pairs, seconds=SECONDS), warn=False).metadata.fitting
        for words in ("night", "navy to gold")
    )
    assert right is not None
    assert wrong is not None
    assert right.start == "checkpoint night"
    assert right.n_candidates < wrong.n_candidates
    assert right.loss_after < 0.1 * right.loss_untouched


def test_checkpoints_nearest_by_meaning_compete(monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = Zoo.from_pretrained("starter")
    candidates = find_candidates(zoo, Request("cannot see a thing for the fog"))
    found = [one.name for one in candidates if one.is_from_words and one.name.startswith("checkpoint")]
    assert found[0] == "checkpoint fog"
    assert len(found) == 3
    held_out = find_candidates(zoo, Request("cannot see a thing for the fog"), split="train")
    names = {one.name.removeprefix("checkpoint ") for one in held_out if one.name.startswith("checkpoint")}
    assert all(zoo.index.row(name).split == "train" for name in names)


def test_work_is_counted_from_the_sizes_of_the_network() -> None:
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 3, 1, stride=2))
    assert macs_per_pixel(layers) == 3 * 8 * 9 + 3 * 8 / 4


def test_one_pair_is_enough_and_a_part_of_it_is_held_back(zoo: Zoo) -> None:
    for sizes in ({}, {"height": 96, "width": 16}, {"height": 8, "width": 8}):
        init = zoo.pull(Request(pairs=pairs_of(darker, 1, **sizes), seconds=SECONDS), warn=False)
        fitting = init.metadata.fitting
        assert (fitting.n_pairs, fitting.n_held_back) == (1, 0)
        assert fitting.prospect.endswith("on a part of the pair, measured on the rest")
        assert fitting.loss_after <= fitting.loss_before


def test_pairs_without_an_edit_or_with_sides_that_do_not_match_are_one_line(zoo: Zoo) -> None:
    one = photo(0)
    wrong = {
        "before and after are the same image in all 2 pairs": [Pair("a", one, one), Pair("b", one, one)],
        "A is 72 x 64 pixels, B is 64 x 64": [Pair("a", one, one[:, :64])],
        "pair 'a' is 4 x 4 pixels; expected at least 8": [Pair("a", one[:4, :4], one[:4, :4])],
    }
    for said, pairs in wrong.items():
        with pytest.raises(InvalidPairs, match=said):
            zoo.pull(Request(pairs=pairs))
    with pytest.raises(TypeError, match="pair 'a': expected uint8"):
        zoo.pull(Request(pairs=[Pair("a", one / 255, one / 255)]))
    with pytest.raises(TypeError, match="class Pair, found str"):
        zoo.pull(Request(pairs=["a.png"]))
    with pytest.raises(InvalidRequest, match="a checkpoint is found by words alone"):
        zoo.pull(Request("night", pairs=pairs_of(darker), origin="exact"))


def notes_of(zoo: Zoo, words: str, pairs) -> str:
    request = Request(words, pairs=pairs, seconds=SECONDS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        notes = zoo.pull(request).metadata.fitting.notes
    said = [str(one.message) for one in caught if issubclass(one.category, UserWarning)]
    assert said[: len(notes)] == [f"example pairs: {note}" for note in notes]
    return " | ".join(notes)


def base_of(zoo: Zoo) -> Candidate:
    return Candidate("base", torch.zeros(zoo.layout.n_values))


def test_what_is_odd_about_pairs_is_said(zoo: Zoo) -> None:
    edit = zoo.checkpoint("watercolour").edit
    good = pairs_of(edit)
    assert notes_of(zoo, "watercolour", good) == ""
    swapped = [replace(pair, given=pair.wanted, wanted=pair.given) for pair in good]
    assert "before and after look swapped" in notes_of(zoo, "watercolour", swapped)
    twice = [*good, Pair("again", good[0].given, 255 - good[0].wanted)]
    assert "pairs 'pair 0' and 'again' have the same before and diff" in notes_of(zoo, "", twice)
    rng = np.random.default_rng(0)
    noise = [replace(pair, wanted=rng.permutation(pair.given.ravel()).reshape(64, 72, 3)) for pair in good]
    assert "they look like no single edit" in notes_of(zoo, "", noise)
    assert "seem to show different things in 6 of 6" in notes_of(zoo, "", noise)
    assert "seem to show different things in the only one" in notes_of(zoo, "", noise[:1])
    assert "there is only one" in notes_of(zoo, "", good[:1])
    brief = fit_pairs(
        zoo.recipe.build_base(zoo.base()).requires_grad_(False), [base_of(zoo)], noise, seconds=0.01
    )
    assert not any(
        "no single edit" in note for note in brief.fitting.notes
    )  # a few steps say nothing of that
    both = [*pairs_of(darker), Pair("hardly", photo(7), np.maximum(photo(7), 3))]
    assert "they disagree: " in notes_of(zoo, "", both)
    grey = [replace(pair, given=pair.given[:, :, :1].repeat(3, 2)) for pair in good]
    assert "the before images are all grey" in notes_of(zoo, "", grey)
    small = [Pair(pair.name, pair.given[:12, :10], pair.wanted[:12, :10]) for pair in good]
    assert "a pair is 10 pixels on its shorter side, less than the" in notes_of(zoo, "", small)
    unedited = [*good, Pair("same", good[0].given, good[0].given)]
    assert "before and after are the same image in 1 of 7 pairs" in notes_of(zoo, "", unedited)


def test_of_two_thousand_pairs_a_few_are_read(tmp_path: Path, zoo: Zoo, monkeypatch) -> None:
    for side in ("A", "B"):
        (tmp_path / side).mkdir()
    write_image(tmp_path / "one.png", photo(1, 16, 16), force=False)
    write_image(tmp_path / "two.png", darker(photo(1, 16, 16)), force=False)
    for number in range(2000):
        (tmp_path / "A" / f"{number:04d}.png").hardlink_to(tmp_path / "one.png")
        (tmp_path / "B" / f"{number:04d}.png").hardlink_to(tmp_path / "two.png")
    read: list[Path] = []
    read_image = folders.read_image
    monkeypatch.setattr(folders, "read_image", lambda path: read.append(path) or read_image(path))
    pairs = read_examples(tmp_path)
    n_compared = 2 * folders.N_COMPARED
    assert len(pairs) == MAX_EXAMPLES
    assert 2 * MAX_EXAMPLES <= len(read) <= 2 * MAX_EXAMPLES + n_compared
    assert (pairs[0].name, pairs[-1].name) == ("0000", "1968")
    many = pairs * 31
    fitting = zoo.pull(Request(pairs=many, seconds=SECONDS), warn=False).metadata.fitting
    assert (fitting.n_pairs, fitting.n_held_back) == (MAX_EXAMPLES - 8, 8)


def test_the_command_fits_prints_and_writes(
    tmp_path: Path, mild_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INITZOO_ZOO", str(mild_folder))
    monkeypatch.chdir(tmp_path)
    for side, edit in (("A", lambda image: image), ("B", darker)):
        for number in range(3):
            (tmp_path / "mine" / side).mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / "mine" / side / f"{number}.png", edit(photo(number)), force=False)
    result = run("pull", "--like", "mine", "--seconds", str(SECONDS))
    assert result.exit_code == 0, result.output
    assert " fitted " in result.stdout
    assert " steps on 2 pairs, measured on another  -> from-pairs.safetensors\n" in result.stdout
    said = json.loads(succeed("pull", "gold sketch", "--like", "mine", "--seconds", str(SECONDS), "--json"))
    metadata = Init.load("gold-sketch.safetensors").metadata
    assert said["fitting"] == json.loads(json.dumps(metadata.fitting.to_dict()))
    assert (said["origin"], said["concept"], said["seed"]) == ("fitted", "gold-sketch", None)
    assert metadata.fitting.prospect in succeed("show", "gold-sketch.safetensors")
    turned = json.loads(
        succeed("pull", "--like", "mine", "--seconds", "0.01", "--direction", "BtoA", "--json", "-o", "t")
    )
    assert turned["fitting"]["pairs_sha256"] != said["fitting"]["pairs_sha256"]
    assert "seconds must be above 0" in fail("pull", "--like", "mine", "--seconds", "0")
    assert "no pairs at nothing" in fail("pull", "--like", "nothing")
    assert "a checkpoint is found by words alone" in fail("pull", "night", "--exact", "--like", "mine")
    assert "reads words alone" in fail("pull", "gold", "--generate", "--like", "mine")
    assert run("pull", "night", "--seconds", "3").exit_code == 2
    assert Fitting(**(said["fitting"] | {"notes": ()})).start == metadata.fitting.start


def test_evaluate_measures_fits_to_pairs_of_held_out_concepts(
    tmp_path: Path, kept_photo_folder: Path
) -> None:
    negative = '[{"operator": "negative", "parameters": []}]'
    with mild():
        folder = make_zoo(
            tmp_path / "asked", change=lambda rows: [replace(row, teacher=negative) for row in rows]
        )
    asked = ("evaluate", "--zoo", folder, "--photos", kept_photo_folder, "--workers", "1")
    said = json.loads(succeed(*asked, "--like", "2", "--seconds", "0.02", "--json"))
    assert [one["concept_id"] for one in said["concepts"]] == ["night", "remove-haze"]
    for one in said["concepts"]:
        assert one["starts"]["base_fitted"] == "base"
        assert not {f"checkpoint {name}" for name in ("night", "remove-haze")} & {*one["starts"].values()}
        assert one["psnr"].keys() == {*FIT_METHODS}
    assert [(one["split"], one["n_concepts"]) for one in said["splits"]] == [
        ("heldout-composed", 1),
        ("heldout-new", 1),
    ]
    assert "no held-out concepts of split 'train'" in fail(*asked, "--like", "2", "--split", "train")
    assert run(*asked, "--like", "2", "--stored").exit_code == 2
    assert run(*asked, "--seconds", "2").exit_code == 2
