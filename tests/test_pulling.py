"""The answers of pull in an evaluation: as if held-out concepts and test wordings were not there."""

import copy
import json
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from zoo_fixtures import TinyConcept, add_generator, make_zoo

from initzoo.demo.evidence import evidence_html
from initzoo.errors import InvalidGenerator, UnknownConcept
from initzoo.evaluation.bootstrap import Resampling
from initzoo.evaluation.cases import ask_about_zoo
from initzoo.evaluation.generator import EvaluationSettings, evaluate_generator
from initzoo.evaluation.generator.merge import check_further
from initzoo.evaluation.generator.pulling import pull_answers
from initzoo.evaluation.generator.statistics import summarise
from initzoo.evaluation.generator.tables import evaluation_tables
from initzoo.generator import PHRASE_FOLDER
from initzoo.pairs import catalog_folder
from initzoo.pairs.photos import PhotoSource
from initzoo.zoo import TaughtZoo, Zoo, refresh_manifest, write_model_card
from initzoo.zoo.index import Index

CONCEPTS = (
    TinyConcept("pencil-sketch", ("pencil sketch", "a pencil drawing"), ("asdf qwer",)),
    TinyConcept("watercolour", ("watercolour",), ("paint it in water colours",)),
    TinyConcept("night", ("make it night",), (), family="light"),
    TinyConcept(
        "pencil-sketch--night",
        ("a pencil sketch at night", "pencil drawing, then night"),
        ("night, drawn in pencil",),
        split="heldout-composed",
    ),
    TinyConcept("dehaze", ("clear the haze away",), ("remove the mist",), "restoration", "heldout-new"),
)
HELD_OUT = [concept for concept in CONCEPTS if concept.split != "train"]
TRAINING = {"n_wordings": 5, "weights": {"n_steps": 1}, "behaviour": {"n_steps": 1}}


def make_phrase_zoo(folder, **options):
    """A tiny zoo with the bundled phrase encoder."""
    make_zoo(folder, concepts=CONCEPTS, **options)
    shutil.copytree(catalog_folder() / "model" / PHRASE_FOLDER, folder / "model" / PHRASE_FOLDER)
    refresh_manifest(folder)
    return folder


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = make_phrase_zoo(tmp_path_factory.mktemp("zoos") / "asked")
    add_generator(folder, training=TRAINING, text={"encoder": "an-encoder", "licence": "MIT"})
    return Zoo.from_pretrained(folder)


@pytest.fixture(scope="module")
def questions(zoo):
    return ask_about_zoo(zoo)


@pytest.fixture(scope="module")
def generated(zoo, questions):
    """Blocks that no checkpoint has, other ones for each wording."""
    shape = zoo.layout.n_blocks, zoo.layout.block_size
    rng = np.random.default_rng(5)
    return [rng.normal(size=(len(one.words), *shape)).astype(np.float32) for one in questions]


@pytest.fixture(scope="module")
def report(zoo, questions, kept_photo_folder):
    settings = EvaluationSettings(
        photos=PhotoSource(kept_photo_folder),
        n_overlap=1,
        n_pictures=1,
        n_ridge_wordings=1,
        resampling=Resampling(n_resamples=20),
        n_workers=1,
    )
    found = evaluate_generator(zoo, zoo.generator_folder, questions, settings)
    return json.loads(json.dumps(found.report, allow_nan=False))


def answers_by_concept(zoo, questions, generated):
    answers = pull_answers(zoo, questions, generated)
    return {
        question.concept_id: SimpleNamespace(pulled=one, generated=own, question=question)
        for question, one, own in zip(questions, answers, generated, strict=True)
    }


def test_no_held_out_concept_is_answered_with_its_own_checkpoint(zoo, questions, generated):
    taught = TaughtZoo(zoo)
    assert taught.index.ids == ["night", "pencil-sketch", "watercolour"]
    for concept in HELD_OUT:
        wordings = (concept.id, *concept.prompts, *concept.test_prompts)
        slips = [wording.replace("pencil", "pencl").replace("clear", "claer") for wording in wordings]
        for words in (*wordings, *slips):
            assert taught.route(words).concept_id != concept.id, words
        assert all(zoo.route(words).concept_id == concept.id for words in wordings)
    answers = answers_by_concept(zoo, questions, generated)
    for concept in HELD_OUT:
        answer = answers[concept.id]
        assert concept.id not in answer.pulled.concept_ids
        own = zoo.blocks(concept.id)
        assert not any(np.array_equal(blocks, own) for blocks in answer.pulled.blocks)


def test_a_test_wording_is_understood_and_not_looked_up(zoo, questions, generated):
    assert zoo.route("asdf qwer").concept_id == "pencil-sketch"
    answers = answers_by_concept(zoo, questions, generated)
    nonsense = answers["pencil-sketch"]
    assert nonsense.question.words == ("asdf qwer",)
    assert nonsense.pulled.concept_ids == (None,)
    np.testing.assert_array_equal(nonsense.pulled.blocks, nonsense.generated)
    understood = answers["watercolour"]
    assert understood.pulled.concept_ids == ("watercolour",)
    np.testing.assert_array_equal(understood.pulled.blocks[0], zoo.blocks("watercolour"))
    assert TaughtZoo(zoo).route("asdf qwert").origin == "generated"  # nor is a slip in it put right


def test_training_wordings_are_still_looked_up(zoo):
    taught = TaughtZoo(zoo)
    assert (taught.route("a pencil drawing").origin, taught.route("night").origin) == ("exact", "exact")
    again = pickle.loads(pickle.dumps(taught))  # noqa: S301
    assert again.index.ids == taught.index.ids
    assert again.route("a pencil drawing") == taught.route("a pencil drawing")


def test_each_wording_has_an_answer_of_its_own(zoo, questions, generated):
    answers = answers_by_concept(zoo, questions, generated)
    for answer in answers.values():
        assert answer.pulled.blocks.shape == answer.generated.shape
        taken = [concept_id is not None for concept_id in answer.pulled.concept_ids]
        assert answer.pulled.checkpoint_share() == np.mean(taken)
        assert [answer.pulled.checkpoint_share(rank) for rank in range(len(taken))] == taken


def test_a_zoo_without_a_weight_generator_is_answered_for_by_the_one_evaluated(tmp_path, generated):
    folder = make_phrase_zoo(tmp_path / "zoo")
    zoo = Zoo.from_pretrained(folder)
    with pytest.raises(UnknownConcept):
        TaughtZoo(zoo).route("night, drawn in pencil")
    answers = answers_by_concept(zoo, ask_about_zoo(zoo), generated)
    assert answers["pencil-sketch--night"].pulled.concept_ids == (None, None)


def test_a_zoo_without_a_phrase_encoder_has_no_answers(tmp_path):
    zoo = Zoo.from_pretrained(make_zoo(tmp_path / "zoo", concepts=CONCEPTS))
    questions = ask_about_zoo(zoo)
    assert pull_answers(zoo, questions, [np.zeros((2, 1, 1), np.float32)] * len(questions)) == []


def test_checkpoints_of_other_recipes_are_left_out(zoo, monkeypatch):
    rows = [row for row in zoo.index.rows() if row.concept_id != "night"]
    night = next(row for row in zoo.index.rows() if row.concept_id == "night")
    object.__setattr__(night, "recipe", "other")
    monkeypatch.setattr(zoo.index, "each_row", lambda split: (r for r in [*rows, night] if r.split == split))
    assert TaughtZoo(zoo).index.ids == ["pencil-sketch", "watercolour"]


def test_an_index_of_rows_needs_no_file(zoo):
    rows = zoo.index.rows()
    index = Index.of(reversed(rows))
    assert not index.path.exists()
    assert index.rows() == rows
    assert index.find("clear the haze away").concept_id == "dehaze"
    assert len(Index.of([])) == 0


def test_the_gap_closed_by_pull_is_its_own():
    psnr = {"generated": [20.0, 24.0], "pull": [22.5, 26.5], "mean": [10.0, 14.0], "trained": [22.5, 26.5]}
    found = summarise(psnr, psnr, Resampling(n_resamples=9))
    assert (found["gap_closed"], found["pull"]["gap_closed"]) == (0.8, 1.0)
    assert found["pull"]["gap_closed_interval"] == [1.0, 1.0]
    assert found["difference"]["pull"]["psnr"] == -2.5
    del psnr["trained"]
    assert summarise(psnr, psnr, Resampling(n_resamples=9))["pull"]["gap_closed"] is None
    del psnr["pull"]
    assert "pull" not in summarise(psnr, psnr, Resampling(n_resamples=9))


def test_an_evaluation_has_the_answers_of_pull(report):
    taught = report["train-unseen-wordings"]
    assert taught["pull"]["checkpoint_share"] == 0.5
    assert set(taught["pull"]) == {"gap_closed", "gap_closed_interval", "checkpoint_share"}
    for split in ("heldout-composed", "heldout-new", "train-unseen-wordings"):
        section = report[split]
        for key in ("psnr", "ssim", "psnr_10th", "psnr_interval", "ssim_interval", "difference"):
            assert "pull" in section[key]
        for name, part in section["wording"].items():
            assert part["pull"]["checkpoint_share"] in (0, 1), name
    composed = report["heldout-composed"]
    assert composed["pull"]["checkpoint_share"] == 0
    assert composed["psnr"]["pull"] == composed["psnr"]["generated"]
    assert composed["pull"]["gap_closed"] == composed["gap_closed"]
    assert composed["families"]["style"]["pull"] == composed["pull"]


def without_pull(report):
    """The report as it was before the answers of pull were measured."""
    if not isinstance(report, dict):
        return report
    return {key: without_pull(value) for key, value in report.items() if key != "pull"}


def test_tables_have_a_line_for_pull_where_it_was_measured(report):
    lines = evaluation_tables(report)
    assert sum(line.startswith("  pull ") for line in lines) == 3
    assert any(line.startswith("  answer of pull: a checkpoint for 50.0% of wordings") for line in lines)
    assert any(line.split()[-4:] == ["generated", "pull", "trained", "gap"] for line in lines)
    earlier = evaluation_tables(without_pull(report))
    assert not any("pull" in line for line in earlier)
    assert len(earlier) == len(lines) - 6


def test_the_card_of_the_model_tells_the_answers_of_pull(zoo, report):
    model = zoo.folder / "model"
    (model / "evaluation.json").write_text(json.dumps(report))
    card = write_model_card(zoo).read_text()
    section = report["heldout-new"]
    assert f"| answer of pull | {report['train-unseen-wordings']['psnr']['pull']:.2f} [" in card
    assert "| checkpoints taken by pull | 50.0% |" in card
    assert "| gap closed by pull |" in card
    assert '"Answer of pull" is that of a zoo which holds the train concepts alone' in card
    assert "generated | pull | trained | gap closed |" in card
    assert f"{section['novelty']['words']['psnr']['pull']:.2f}" in card
    (model / "evaluation.json").write_text(json.dumps(without_pull(report)))
    earlier = write_model_card(zoo).read_text()
    assert "of pull" not in earlier
    assert "by pull" not in earlier


def test_the_page_tells_the_answers_of_pull(report):
    html = evidence_html(report)
    assert html.count("answer of pull: the checkpoint that the words mean") == 3
    assert "<p>From a zoo of the taught looks alone, pull takes a checkpoint for 50% of the wordings" in html
    assert "pull" not in evidence_html(without_pull(report))
    odd = copy.deepcopy(report)
    for section, figures in (("heldout-new", "<b>"), ("heldout-composed", {"checkpoint_share": "<b>"})):
        odd[section]["pull"] = figures
    assert evidence_html(odd).count("From a zoo of the taught looks alone") == 1


def test_no_further_generator_has_the_name_pull(zoo, questions, report):
    settings = EvaluationSettings(n_workers=1)
    with pytest.raises(InvalidGenerator, match="cannot be called 'pull'"):
        evaluate_generator(
            zoo, zoo.generator_folder, questions, settings, also={"pull": zoo.generator_folder}
        )
    earlier = report | {"also": {"pull": {}}}
    with pytest.raises(InvalidGenerator, match="has a generator 'pull' as well"):
        check_further(earlier, zoo=report["zoo"], revision=report["revision"], names=())
