"""The zoo that comes with initzoo: whole, as good as its index says, and looked at by commands."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from initzoo.cli.main import main
from initzoo.errors import InvalidWords
from initzoo.evaluation.checkpoints import evaluate_zoo
from initzoo.files.images import read_image
from initzoo.generator import Request
from initzoo.pairs import Pair, load_photos
from initzoo.pairs.concepts import load_concepts
from initzoo.training.auto import AutoNetwork
from initzoo.work.devices import describe_machine
from initzoo.zoo.zoo import Zoo

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"
OTHER_CPU = 5e-3
"""How far a weight may be off on another processor, whose int8 instructions round otherwise; the spread of
weights is 0.05."""


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    return Zoo.from_pretrained("starter")


def test_every_byte_is_as_promised(zoo):
    report = zoo.verify()
    assert not report.problems
    assert report.n_checkpoints == len(zoo.index)


def test_it_holds_the_concepts_of_the_catalog_word_for_word(zoo):
    concepts = {concept.id: concept for concept in load_concepts()}
    rows = {row.concept_id: row for row in zoo.index.rows()}
    assert set(rows) == set(concepts)
    for concept_id in rows:
        row, concept = rows[concept_id], concepts[concept_id]
        assert (row.prompts, row.test_prompts) == (concept.prompts, concept.test_prompts)
        assert (row.family, row.split, row.novelty) == (concept.family, concept.split, concept.novelty)
        assert row.licence
        assert row.source


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    """What the zoo of version 0.2 holds, and where ten inits were generated with it."""
    values: dict[str, Any] = json.loads((GOLDEN / "zoo-0.2.json").read_bytes())
    return values


def test_every_checkpoint_has_the_bytes_of_version_0_2(zoo, golden):
    rows = sorted(zoo.index.rows(), key=lambda row: row.concept_id)
    lines = "\n".join(f"{row.concept_id} {row.sha256}" for row in rows)
    found = {"n_checkpoints": len(rows), "payloads": hashlib.sha256(lines.encode()).hexdigest()}
    assert found == {name: golden[name] for name in found}


def test_the_base_has_the_values_of_version_0_2(zoo, golden):
    found = {name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in zoo.base().items()}
    assert found == golden["base"]


def test_ten_inits_are_generated_as_by_version_0_2(zoo, golden):
    """To the byte on the kind of machine that they were made on; nearly so where others round otherwise."""
    wanted = load_file(GOLDEN / "zoo-0.2-generated.safetensors")
    assert {
        words: hashlib.sha256(blocks.tobytes()).hexdigest() for words, blocks in wanted.items()
    } == golden["generated"]
    here = {"processor": describe_machine()["processor"], "onnxruntime": onnxruntime.__version__}
    found = {words: zoo.generator.generate(words, seed=i) for i, words in enumerate(golden["generated"])}
    off = {words: float(np.abs(blocks - wanted[words]).max()) for words, blocks in found.items()}
    limit = 0.0 if here == golden["made_on"] else OTHER_CPU
    assert max(off.values()) <= limit, f"made on {golden['made_on']}, compared on {here}: {off}"


def test_it_is_large_enough_and_split(zoo):
    counts = Counter(row.split for row in zoo.index.rows())
    assert counts["train"] >= 1200
    assert counts["heldout-composed"] >= 80
    assert counts["heldout-new"] >= 40
    assert len({row.family for row in zoo.index.rows(split="train")}) == 6


def test_checkpoints_are_as_good_as_the_card_says(zoo):
    rows = zoo.index.rows(split="train")
    for family, least in (("all", 38.0), ("style", 31.0), ("structure", 38.0), ("restoration", 32.0)):
        group = [row for row in rows if family in ("all", row.family)]
        assert np.mean([row.psnr for row in group]) >= least
        assert np.mean([row.psnr for row in group]) > np.mean([row.psnr_mean for row in group]) + 5
        assert np.mean([row.psnr for row in group]) > np.mean([row.psnr_untouched for row in group]) + 5


@pytest.mark.parametrize("limit", [1, pytest.param(4, marks=pytest.mark.long)])
def test_scores_of_the_index_are_measured_again(zoo, limit):
    for one in evaluate_zoo(zoo, limit=limit, n_workers=1):
        row = zoo.index.row(one.concept_id)
        assert one.trained.psnr == pytest.approx(row.psnr, abs=0.05)
        assert one.trained.ssim == pytest.approx(row.ssim, abs=0.002)
        assert one.mean.psnr == pytest.approx(row.psnr_mean, abs=0.05)
        assert one.untouched.psnr == pytest.approx(row.psnr_untouched, abs=0.01)


def test_any_wording_pulls_the_concept(zoo):
    for row in zoo.index.rows()[::200]:
        for wording in (row.concept_id, row.prompts[-1].upper(), row.test_prompts[0].replace(" ", "-")):
            assert zoo.find(wording).concept_id == row.concept_id


def test_from_pretrained_edits_as_apply_does(tmp_path):
    photo = ROOT / "catalog" / "photos" / "chelsea.png"
    result = CliRunner().invoke(main, ["apply", "sepia", str(photo), "-o", str(tmp_path / "out.png")])
    assert result.exit_code == 0, result.output
    edited = AutoNetwork.from_pretrained("sepia").edit(read_image(photo))
    # Torch here, onnxruntime there: now and then they round to different sides.
    assert np.abs(read_image(tmp_path / "out.png").astype(int) - edited).max() <= 1


def test_grid_draws_concepts_on_scoring_photos(tmp_path):
    out = tmp_path / "grid.png"
    command = ["grid", "sepia", "denoise", "--photo", "chelsea", "--side", "64", "-o", str(out)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert read_image(out).shape[:2] == (22 + 2 * (20 + 64 + 6) + 10, 3 * 70 - 6 + 6)
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 1
    assert "exists already" in again.output


def test_evaluate_prints_a_line_a_family(kept_photo_folder):
    command = ["evaluate", "--split", "train", "--limit", "2", "--workers", "1", "--json"]
    command += ["--photos", str(kept_photo_folder)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    families = json.loads(result.stdout)["families"]
    assert families[-1]["family"] == "all"
    assert families[-1]["n_concepts"] == 2
    stored = CliRunner().invoke(main, ["evaluate", "--split", "train", "--stored"])
    assert stored.exit_code == 0, stored.output
    assert [line.split()[0] for line in stored.stdout.splitlines()[2:]] == [
        "colour",
        "light",
        "restoration",
        "structure",
        "style",
        "tone",
        "all",
    ]
    wrong = CliRunner().invoke(main, ["evaluate", "--split", "nonsense"])
    assert wrong.exit_code == 1
    assert "has no checkpoints of split 'nonsense'" in wrong.output


@pytest.mark.parametrize("words", ["карандаш", "собака", "σκίτσο"])
def test_words_in_alphabets_that_were_not_taught_mean_no_checkpoint(zoo, words):
    assert zoo.route(words).concept_id is None
    with pytest.raises(InvalidWords, match="belongs to an alphabet that no wording of zoo 'starter' uses"):
        zoo.pull(words)


def test_search_lists_nothing_for_words_in_an_alphabet_that_the_zoo_was_not_taught(zoo: Zoo) -> None:
    assert zoo.search("수채화") == []  # watercolour in Korean
    assert zoo.search("水彩画")[0].concept_id == "watercolour"


def test_words_in_other_taught_languages_mean_theirs(zoo):
    assert zoo.route("黑白照片").concept_id == "black-and-white"
    assert zoo.route("鉛筆画").concept_id == "pencil-sketch"


@pytest.mark.parametrize(
    ("words", "concept_id", "strength"),
    [
     ("ein bisschen sepia", "sepia-faint", 1.0), ("leichter Nebel", "fog-faint", 1.0),
     ("sehr verblasst", "faded-strong", 1.0), ("un peu sépia", "sepia-faint", 1.0),
     ("muy nítido", "sharp-strong", 1.0), ("少しセピア", "sepia-faint", 1.0), ("轻微的雾", "fog-faint", 1.0),
     ("雾度拉满", "fog-strong", 1.4), ("muy poco contraste", "low-contrast", 1.0),
    ],
)  # fmt: skip
def test_degrees_are_read_in_other_languages(zoo: Zoo, words: str, concept_id: str, strength: float) -> None:
    route = zoo.route(words)
    assert (route.concept_id, route.strength) == (concept_id, strength)


@pytest.mark.parametrize(
    ("words", "concept_id"),
    [
     ("no sepia", None), ("don't make it sepia", None), ("kein Sepia", None), ("too warm", None),
     ("not black and white", "revive-colours"), ("way too foggy", "dehaze"), ("no fog at all", "dehaze"),
     ("much less blurry", "deblur"), ("pas de flou", "deblur"), ("不要模糊", "deblur"),
     ("no noise", "denoise"), ("less contrast", "low-contrast"), ("no denoise", None),
     ("霧なし", "dehaze"), ("无雾", "dehaze"), ("ぼけなし", "deblur"), ("无噪点", "despeckle"),
     ("ohne Farbe", "black-and-white"), ("sans couleur", "black-and-white"), ("色なし", "black-and-white"),
    ],
)  # fmt: skip
def test_words_that_ask_to_be_without_a_look_never_get_it(
    zoo: Zoo, words: str, concept_id: str | None
) -> None:
    route = zoo.route(words)
    assert route.concept_id == concept_id
    if concept_id in (None, "revive-colours", "dehaze", "deblur"):
        assert route.reason.startswith("the words ask to be without")


def test_a_colour_beside_a_look_finds_its_kind_in_colours(zoo: Zoo) -> None:
    assert zoo.route("stencil, red").concept_id == "stencil-colour-red-white"
    assert zoo.route("too blue").concept_id == "uncast-blue"
    assert zoo.route("#ff0000 tint").reason == "no checkpoint of 'tint' has the colours of the words: #ff0000"


@pytest.mark.parametrize(
    ("words", "concept_id", "reason"),
    [
     ("saffron tint", "tint-yellow", "the words mean 'tint-yellow'"),
     ("photo through denim glass", "gel-cobalt", "the words mean 'gel-cobalt'"),
     ("eggplant tint", None, "no checkpoint of 'tint' has the colours of the words: eggplant"),
    ],
)  # fmt: skip
def test_a_look_in_a_colour_that_hardly_anybody_names_is_still_that_look(
    zoo: Zoo, words: str, concept_id: str | None, reason: str
) -> None:
    route = zoo.route(words)
    assert (route.concept_id, route.reason) == (concept_id, reason)


def test_the_degree_of_a_part_is_not_that_of_the_whole(zoo: Zoo) -> None:
    route = zoo.route("pencil sketch, slightly sepia")
    assert (route.concept_id, route.strength) == ("pencil-sketch--sepia", 1.0)
    assert route.reason.endswith("one strength is for all looks, so that of a part is left out")


@pytest.mark.parametrize("words", ["yes", "all", "undo", "do it again"])
def test_words_that_say_nothing_name_no_look(zoo: Zoo, words: str) -> None:
    assert zoo.route(words).reason == "the words name no look"


def test_words_that_the_weight_generator_cannot_read_are_told_as_such(zoo: Zoo) -> None:
    with pytest.raises(InvalidWords, match="reads no words with the letter '暗'"):
        zoo.pull("暗部を少し持ち上げる")


def test_words_in_other_taught_languages_help_a_fit(zoo: Zoo) -> None:
    photo = load_photos(split="score")[0].pixels
    pairs = (Pair("one", photo, zoo.checkpoint("sepia").edit(photo)),)
    init = zoo.pull(Request("少しセピア", pairs, seconds=0.1), warn=False)
    assert init.metadata.fitting.start == "checkpoint sepia with its detail"
