"""Pulling words that no checkpoint has: generated and said to be so, or refused in one line."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_running import fail, files, run, succeed
from safetensors.torch import save_file
from zoo_fixtures import (
    TINY_CONCEPTS,
    TINY_RECIPE,
    TinyConcept,
    add_generator,
    cut_off,
    flipped,
    generating_zoo,
    kept_generating_zoo,
    kept_zoo,
    make_zoo,
    outcome,
    random_base,
    tiny_zoo,
)

from initzoo.checkpoints.blocks import join_blocks, split_blocks
from initzoo.checkpoints.init import Generation, Init, merge_adapter, name_words
from initzoo.errors import (
    ChecksumMismatch,
    InitzooError,
    InvalidGenerator,
    InvalidInit,
    InvalidWords,
    LayoutMismatch,
    UnknownConcept,
)
from initzoo.files.images import read_image, write_image
from initzoo.files.tensors import decode_tensors, encode_tensors
from initzoo.generator.given import SCHEMES
from initzoo.generator.request import Request
from initzoo.training.auto import AutoNetwork
from initzoo.training.schemes import Initializer
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.verify import verify_file
from initzoo.zoo.zoo import Zoo

__all__ = ["generating_zoo", "kept_generating_zoo", "kept_zoo", "tiny_zoo"]

pytestmark = pytest.mark.filterwarnings("ignore:weights for .* are generated, far:UserWarning")

WORDS = "Faded teal sketch, at dusk"
FILE = "faded-teal-sketch-at-dusk.safetensors"
GENERATOR_FILES = (
    "config.json",
    "model.safetensors",
    "text/tokenizer.json",
    "text/vectors.safetensors",
    "calibration.json",
)
BAD_WORDS = [
    ("", "the words are empty"),
    (" \t ", "the words are empty"),
    ("teal " * 10_000, "the words have 49999 letters, at most 1000 are read"),
    ("teal " * 150, "have 150 tokens, at most 64 are read"),
    ("🙂🙃", "no word of '🙂🙃' is known"),
    ("zoom", "no word of 'zoom' is known"),
    ("карандаш", "the letter 'к' belongs to an alphabet that no wording of zoo 'generating' uses"),
    ("teal 素描", "the letter '素' belongs to an alphabet"),
    ("faded\x07teal", "control or invisible character U+0007"),
    ("faded\nteal", "control or invisible character U+000A"),
    ("faded\u200bteal", "control or invisible character U+200B"),
    ("[MASK] [PAD]", "no word of '[MASK] [PAD]' is known"),
]


@pytest.fixture
def zoo(kept_generating_zoo: Path) -> Zoo:
    return Zoo.from_pretrained(kept_generating_zoo)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, kept_generating_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder, and the default zoo is one with a weight generator."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("INITZOO_ZOO", str(kept_generating_zoo))


def test_unseen_words_give_the_base_merged_with_what_the_generator_makes(zoo: Zoo) -> None:
    init = zoo.pull(WORDS, seed=3, n_timesteps=2)
    adapter = join_blocks(zoo.generator.generate(WORDS, seed=3, n_timesteps=2), TINY_RECIPE.layout)
    expected = merge_adapter(random_base(TINY_RECIPE), adapter, TINY_RECIPE.layout)
    assert init.weights.keys() == expected.keys()
    assert all(np.array_equal(init.weights[name], tensor) for name, tensor in expected.items())
    alone = zoo.pull(WORDS, seed=3, n_timesteps=2, adapter_only=True)
    assert alone.weights.keys() == adapter.keys()
    assert zoo.merge(alone).to_bytes() == init.to_bytes()


def test_a_generated_init_says_how_it_was_made(zoo: Zoo, kept_generating_zoo: Path) -> None:
    metadata = zoo.pull(f"  {WORDS} ", seed=3).metadata
    assert (metadata.concept, metadata.wording) == ("faded-teal-sketch-at-dusk", WORDS)
    assert (metadata.origin, metadata.zoo, metadata.revision) == ("generated", "generating", zoo.revision)
    assert (metadata.base_sha256, metadata.licence) == (zoo.config.base_sha256, "Apache-2.0")
    assert set(metadata.scores.values()) == {None}
    generation = metadata.generation
    assert generation is not None
    config = (kept_generating_zoo / "model" / "weight_generator" / "tiny" / "config.json").read_bytes()
    assert (generation.seed, generation.n_timesteps) == (3, 1)
    assert generation.generator_sha256 == hashlib.sha256(config).hexdigest()
    expected = zoo.expect(WORDS)
    assert expected is not None
    assert generation.distance == pytest.approx(expected.distance, abs=1e-4)
    assert generation.expected_psnr == pytest.approx((expected.low, expected.high), abs=0.01)


def test_what_a_file_says_is_enough_to_make_it_again(zoo: Zoo) -> None:
    zoo.pull(WORDS, seed=7, n_timesteps=3).save("a.safetensors")
    metadata = Init.load("a.safetensors").metadata
    made = metadata.generation
    assert made is not None
    again = zoo.pull(metadata.wording, origin=metadata.origin, seed=made.seed, n_timesteps=made.n_timesteps)
    assert again.to_bytes() == Path("a.safetensors").read_bytes()
    others = [zoo.pull(WORDS, seed=8), zoo.pull(WORDS, seed=7), zoo.pull("gold sketch", seed=7)]
    assert len({again.sha256, *(other.sha256 for other in others)}) == 4


def test_what_the_zoo_holds_stays_exact_to_the_byte(tmp_path: Path, zoo: Zoo) -> None:
    without = Zoo.from_pretrained(make_zoo(tmp_path / "generating"))
    assert not without.has_generator
    for words in ("night", "pencil sketch"):
        assert zoo.pull(words).to_bytes() == without.pull(words).to_bytes()
        assert zoo.pull(words, seed=5).metadata.generation is None


def test_generation_can_be_forced_and_forbidden(zoo: Zoo) -> None:
    assert zoo.pull("pencil sketch", origin="generated").metadata.origin == "generated"
    assert zoo.pull("pencil sketch", origin="exact").metadata.origin == "exact"
    with pytest.raises(UnknownConcept, match="no concept '.*' in zoo 'generating'; .* initzoo pull WORDS$"):
        zoo.pull(WORDS, origin="exact")
    with pytest.raises(ValueError, match="origin must be exact, matched, generated or None, found 'both'"):
        zoo.pull(WORDS, origin="both")


def test_a_zoo_without_a_generator_refuses_what_it_does_not_hold(kept_zoo: Path) -> None:
    zoo = Zoo.from_pretrained(kept_zoo)
    with pytest.raises(UnknownConcept, match="no concept '.*' in zoo 'kept'; closest are"):
        zoo.pull(WORDS)
    with pytest.raises(
        InvalidGenerator, match="has no weight generator for recipe .tiny.. .* generator train"
    ):
        zoo.pull("night", origin="generated")


def test_token_vectors_alone_are_no_generator(tiny_zoo: Path) -> None:
    (tiny_zoo / "model" / "weight_generator" / "tiny" / "text").mkdir(parents=True)
    assert outcome(lambda: Zoo.from_pretrained(tiny_zoo).pull(WORDS)) is UnknownConcept


def test_nonsense_is_said_to_be_far(zoo: Zoo) -> None:
    near, far = (zoo.pull(words).metadata.generation for words in ("gold pencil sketch", "asdf qwer"))
    assert near is not None
    assert far is not None
    assert (near.is_far, far.is_far) == (False, True)
    assert near.distance < far.distance
    assert near.expected_psnr > far.expected_psnr
    assert near.prospect.startswith("near what the zoo knows, expected ")
    assert far.prospect.startswith("far from everything the zoo knows, expected ")


def test_far_words_warn_in_python(zoo: Zoo) -> None:
    with pytest.warns(UserWarning, match="are generated") as caught:
        init = zoo.pull("asdf qwer pencil")
    generation = init.metadata.generation
    assert generation is not None
    (warning,) = caught
    assert str(warning.message) == (
        f"weights for 'asdf qwer pencil' are generated, {generation.prospect} "
        f"(distance {generation.distance:.2f} of 1); nearest is 'pencil-sketch'"
    )
    assert warning.filename == __file__


def test_near_words_checkpoints_and_who_says_it_himself_do_not_warn(zoo: Zoo) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zoo.pull("gold pencil sketch")
        zoo.pull("night")
        zoo.pull("asdf qwer", warn=False)


def test_what_to_expect_is_known_of_one_timestep() -> None:
    one = Generation(0, 1, "a" * 64, distance=0.5, expected_psnr=(-0.3, 18.2), is_far=True)
    assert one.prospect == "far from everything the zoo knows, expected 0 to 18 dB"
    assert replace(one, n_timesteps=8).prospect.endswith("0 to 18 dB of 1 timestep, unknown of 8")


def test_a_generator_without_calibration_says_that_nobody_knows(tiny_zoo: Path) -> None:
    add_generator(tiny_zoo, is_calibrated=False)
    zoo = Zoo.from_pretrained(tiny_zoo)
    generation = zoo.pull(WORDS).metadata.generation
    assert generation is not None
    assert (generation.distance, generation.expected_psnr, generation.is_far) == (None, None, None)
    assert "not calibrated" in generation.prospect
    zoo.pull(WORDS).save("a.safetensors")
    assert Init.load("a.safetensors").metadata.generation == generation
    assert zoo.expect(WORDS) is None
    assert zoo.verify().problems == ()


@pytest.mark.parametrize(("words", "said"), BAD_WORDS)
def test_bad_words_are_refused_in_one_line(zoo: Zoo, words: str, said: str) -> None:
    with pytest.raises(InvalidWords, match=re.escape(said)):
        zoo.pull(words)
    line = fail("pull", words)
    assert said in line
    assert len(line) < 400


@pytest.mark.parametrize("words", ["\udcff", "faded \udcff"])
def test_words_that_are_no_unicode_are_refused(zoo: Zoo, words: str) -> None:
    assert outcome(lambda: zoo.pull(words)) is InvalidWords


@pytest.mark.parametrize(
    "numbers", [{"seed": -1}, {"seed": 2**63}, {"n_timesteps": 0}, {"n_timesteps": 1001}]
)
def test_numbers_out_of_range_are_refused(zoo: Zoo, numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be from"):
        zoo.pull(WORDS, **numbers)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (WORDS, "faded-teal-sketch-at-dusk"),
        ("Crème-brûlée_tint", "creme-brulee-tint"),
        ("black–white", "black-white"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "words"),
        ("素描🙂", "words"),
        ("-o", "o"),
        ("teal " * 100, "-".join(["teal"] * 12)),
    ],
)
def test_names_of_words_are_plain(words: str, name: str) -> None:
    assert name_words(words) == name


@pytest.mark.parametrize("file", GENERATOR_FILES)
def test_a_damaged_generator_gives_no_weights(generating_zoo: Path, file: str) -> None:
    path = generating_zoo / "model" / "weight_generator" / "tiny" / file
    whole = path.read_bytes()
    for number, damaged in enumerate([*flipped(whole, 8, seed=2), *cut_off(whole, 2), whole + b"\0"]):
        path.write_bytes(damaged)
        found = outcome(lambda: Zoo.from_pretrained(generating_zoo).pull(WORDS))
        assert found in (InvalidGenerator, ChecksumMismatch)
        if number % 5 == 0:
            problems = Zoo.from_pretrained(generating_zoo).verify().problems
            assert len(problems) == 1
            assert "\n" not in problems[0]
            assert fail("pull", WORDS, "--zoo", generating_zoo) == problems[0]
    assert Zoo.from_pretrained(generating_zoo).pull("night").metadata.origin == "exact"
    if file != "calibration.json":
        path.unlink()
        assert outcome(lambda: Zoo.from_pretrained(generating_zoo).pull(WORDS)) is InvalidGenerator


@pytest.mark.parametrize(
    ("file", "seed"), [*((file, 1) for file in GENERATOR_FILES), ("calibration.json", 0)]
)
def test_a_file_of_another_generator_is_noticed(
    generating_zoo: Path, tmp_path: Path, file: str, seed: int
) -> None:
    other = add_generator(make_zoo(tmp_path / "other"), seed=seed, n_train_concepts=3)
    target = generating_zoo / "model" / "weight_generator" / "tiny" / file
    assert target.read_bytes() != (other / file).read_bytes()
    target.write_bytes((other / file).read_bytes())
    assert outcome(lambda: Zoo.from_pretrained(generating_zoo).pull(WORDS)) in (
        InvalidGenerator,
        ChecksumMismatch,
    )
    assert len(Zoo.from_pretrained(generating_zoo).verify().problems) == 1


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"base_sha256": "b" * 64}, ChecksumMismatch, "the zoo's base has sha256 .* made for bbb"),
        ({"layout": replace(TINY_RECIPE.layout, block_size=8)}, LayoutMismatch, "the zoo has layout"),
    ],
)
def test_a_generator_for_another_base_is_refused(
    tiny_zoo: Path, changes: dict[str, object], error: type[InitzooError], said: str
) -> None:
    add_generator(tiny_zoo, **changes)
    with pytest.raises(error, match=f"{said}.*Take the weight generator of this zoo"):
        Zoo.from_pretrained(tiny_zoo).pull(WORDS)
    (problem,) = Zoo.from_pretrained(tiny_zoo).verify().problems
    assert fail("pull", WORDS, "--zoo", tiny_zoo) == problem


def test_nan_in_the_weights_is_found(generating_zoo: Path) -> None:
    folder = generating_zoo / "model" / "weight_generator" / "tiny"
    path = folder / "model.safetensors"
    metadata, tensors = decode_tensors(path.read_bytes())
    tensors["denoiser.norm.weight"][3] = np.nan
    path.write_bytes(encode_tensors(tensors, metadata))
    config = json.loads((folder / "config.json").read_bytes())
    config |= {"weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (folder / "config.json").write_bytes(json.dumps(config).encode())
    refresh_manifest(generating_zoo)
    line = fail("pull", WORDS, "--zoo", generating_zoo)
    assert "tensor 'denoiser.norm.weight': 1 of 48 values are NaN or infinite" in line
    assert Zoo.from_pretrained(generating_zoo).verify().problems == (line,)


def test_verify_reads_the_generator(kept_generating_zoo: Path, kept_zoo: Path) -> None:
    report, without = (Zoo.from_pretrained(folder).verify() for folder in (kept_generating_zoo, kept_zoo))
    folder = kept_generating_zoo / "model" / "weight_generator" / "tiny"
    assert report.problems == ()
    assert report.n_files == without.n_files + 5
    assert report.n_bytes == without.n_bytes + sum((folder / file).stat().st_size for file in GENERATOR_FILES)
    for file in ("config.json", "model.safetensors", "calibration.json"):
        one = verify_file(folder / file)
        assert (one.kind, one.problems) == ("generator", ())


CHANGES: list[tuple[Callable[[dict], dict], str]] = [
    (lambda values: values | {"seed": -1}, "seed must be from 0"),
    (lambda values: values | {"seed": True}, "Expected `int`, got `bool`"),
    (lambda values: values | {"n_timesteps": 0}, "n_timesteps must be from 1"),
    (lambda values: values | {"generator_sha256": "b"}, "generator_sha256 must be 64 hex digits"),
    (lambda values: values | {"distance": 2.0}, "distance must be from 0 to 1"),
    (lambda values: values | {"distance": None}, "distance, expected_psnr and is_far must be given together"),
    (lambda values: values | {"expected_psnr": [1.0]}, "`array` of length 2, got 1"),
    (lambda values: values | {"expected_psnr": ["x", "y"]}, "Expected `float`, got `str`"),
    (
        lambda values: {name: values[name] for name in values if name != "seed"},
        "missing required field `seed`",
    ),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_a_file_that_does_not_say_how_it_was_generated_is_refused(
    zoo: Zoo, change: Callable[[dict], dict], said: str
) -> None:
    metadata, weights = decode_tensors(zoo.pull(WORDS).to_bytes())
    metadata["generation"] = json.dumps(change(json.loads(metadata["generation"])))
    Path("odd.safetensors").write_bytes(encode_tensors(weights, metadata))
    with pytest.raises(InvalidInit, match=rf"{said}.* - at `\$.generation"):
        Init.load("odd.safetensors")


def test_origin_and_generation_belong_together(zoo: Zoo) -> None:
    exact, generated = zoo.pull("night"), zoo.pull(WORDS)
    generation = Generation(seed=0, n_timesteps=1, generator_sha256="a" * 64)
    for init, changes in ((exact, {"generation": generation}), (generated, {"generation": None})):
        with pytest.raises(InvalidInit, match="must be given for origin .generated."):
            replace(init, metadata=replace(init.metadata, **changes))
    (_, weights), note = decode_tensors(exact.to_bytes()), decode_tensors(generated.to_bytes())[0]
    for init, changes in ((exact, {"generation": note["generation"]}), (generated, {"generation": ""})):
        metadata = decode_tensors(init.to_bytes())[0] | changes
        Path("odd.safetensors").write_bytes(encode_tensors(weights, metadata))
        with pytest.raises(InvalidInit, match="must be given for origin .generated."):
            Init.load("odd.safetensors")


def test_from_pretrained_takes_words_that_no_checkpoint_has(zoo: Zoo) -> None:
    model, expected = AutoNetwork.from_pretrained(WORDS, zoo=zoo), zoo.pull(WORDS).to_network()
    photo = np.random.default_rng(0).integers(0, 256, size=(16, 24, 3), dtype=np.uint8)
    np.testing.assert_array_equal(model.edit(photo), expected.edit(photo))


def test_pull_says_that_it_generated_and_what_to_expect(zoo: Zoo) -> None:
    result = run("pull", *WORDS.split())
    assert result.exit_code == 0, result.output
    generation = zoo.pull(WORDS).metadata.generation
    assert generation is not None
    n_blocks, size = TINY_RECIPE.layout.n_blocks, Path(FILE).stat().st_size
    assert result.stdout == (
        f"faded-teal-sketch-at-dusk  generating  revision {zoo.revision[:7]}  generated  {n_blocks} blocks  "
        f"{size / 1000:.1f} KB  seed 0  {generation.prospect}  -> {FILE}\n"
    )
    nearest, following = result.stderr.splitlines()
    assert nearest.startswith("nearest in the zoo: pencil-sketch")
    assert following == f"next: initzoo apply {FILE} PHOTO.jpg -o OUT.png"
    assert Path(FILE).read_bytes() == zoo.pull(WORDS).to_bytes()
    assert succeed("pull", WORDS).endswith(f"-> {FILE} (up to date)\n")


def test_json_has_all_that_is_known_of_a_generated_init(zoo: Zoo) -> None:
    result = json.loads(succeed("pull", WORDS, "--seed", "4", "--timesteps", "2", "--json"))
    made = zoo.pull(WORDS, seed=4, n_timesteps=2)
    assert made.metadata.generation is not None
    expected = {
        "concept": "faded-teal-sketch-at-dusk",
        "wording": WORDS,
        "origin": "generated",
        "seed": 4,
        "n_timesteps": 2,
        "path": "faded-teal-sketch-at-dusk-seed4.safetensors",
        "sha256": made.sha256,
        "family": None,
        "psnr": None,
        **made.metadata.generation.to_dict(),
    }
    assert {name: result[name] for name in expected} == expected
    assert result["expected_psnr"][0] < result["expected_psnr"][1]
    assert len(result["nearest"]) == 3
    exact = json.loads(succeed("pull", "night", "--json"))
    assert exact.keys() == result.keys()
    assert {exact[name] for name in ("seed", "expected_psnr", "distance", "is_far")} == {None}


def test_candidates_are_a_file_a_seed(zoo: Zoo) -> None:
    lines = succeed("pull", WORDS, "--candidates", "3", "--seed", "5").splitlines()
    names = [f"faded-teal-sketch-at-dusk-seed{seed}.safetensors" for seed in (5, 6, 7)]
    assert files() == names
    assert [line.rpartition("-> ")[2] for line in lines] == names
    for seed, name in zip((5, 6, 7), names, strict=True):
        assert Path(name).read_bytes() == zoo.pull(WORDS, seed=seed).to_bytes()
    found = json.loads(succeed("pull", WORDS, "--candidates", "1", "-o", "mine.safetensors", "--json"))
    assert [(one["seed"], one["path"]) for one in found["candidates"]] == [(0, "mine-seed0.safetensors")]


def test_candidates_are_all_written_or_none() -> None:
    Path("a-seed1.safetensors").write_text("mine")
    assert "a-seed1.safetensors exists already" in fail(
        "pull", WORDS, "--candidates", "2", "-o", "a.safetensors"
    )
    assert (
        succeed("pull", WORDS, "--candidates", "2", "-o", "b.safetensors", "--dry-run").count("dry run") == 2
    )
    assert files() == ["a-seed1.safetensors"]


def test_a_checkpoint_has_no_candidates() -> None:
    line = fail("pull", "night", "--candidates", "2")
    assert line.startswith("zoo 'generating' has a checkpoint of concept 'night'")
    assert line.endswith("--generate")
    succeed("pull", "pencil sketch", "--candidates", "2", "--generate")
    assert files() == ["pencil-sketch-seed0.safetensors", "pencil-sketch-seed1.safetensors"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seed", "-1"), "seed must be from 0 to 9223372036854775807, found -1. See: initzoo pull -h"),
        (("--seed", str(2**63)), "seed must be from 0"),
        (("--seed", str(2**63 - 1), "--candidates", "2"), "seed must be from 0"),
        (("--timesteps", "0"), "n_timesteps must be from 1 to 1000, found 0"),
        (("--timesteps", "1001"), "n_timesteps must be from 1 to 1000"),
        (("--candidates", "0"), "--candidates must be from 1 to 100, found 0"),
        (("--candidates", "101"), "--candidates must be from 1 to 100"),
        (("--exact", "--generate"), "--exact and --generate exclude each other"),
        (("--exact", "--candidates", "2"), "--exact and --candidates exclude each other"),
        (("--exact",), "no concept 'Faded teal sketch, at dusk' in zoo 'generating'"),
        (("-o", "missing/a.safetensors"), "missing"),
        (("-o", ".", "--candidates", "2"), "."),
        (("--zoo", "./none"), "no zoo './none'"),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(options: tuple[str, ...], said: str) -> None:
    assert said in fail("pull", WORDS, *options)


def test_forcing_generation_needs_a_generator(kept_zoo: Path) -> None:
    line = fail("pull", "night", "--generate", "--zoo", kept_zoo)
    assert line.startswith("zoo 'kept' has no weight generator")


def test_apply_takes_words_that_no_checkpoint_has(zoo: Zoo) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(21, 34, 3), dtype=np.uint8)
    write_image(Path("photo.png"), pixels, force=False)
    result = run("apply", WORDS, "photo.png", "-o", "out.png")
    assert result.stdout == "faded-teal-sketch-at-dusk  photo.png  34x21  -> out.png\n"
    assert result.stderr.startswith(
        "generated, since no checkpoint has these words: far from everything the zoo knows, expect"
    )
    np.testing.assert_array_equal(read_image(Path("out.png")), zoo.pull(WORDS).to_network().edit(pixels))
    succeed("pull", WORDS, "--adapter-only")
    assert run("apply", FILE, "photo.png", "-o", "out2.png").stderr == ""
    assert Path("out2.png").read_bytes() == Path("out.png").read_bytes()
    assert "the words are empty" in fail("apply", "", "photo.png", "-o", "out3.png")


def loaded_modules(*arguments: str) -> tuple[int, set[str]]:
    """Exit code of a whole process, and which modules it has loaded at its end."""
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
        "from initzoo.cli.main import main; main(prog_name='initzoo')"
    )
    process = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    return process.returncode, set(process.stderr.split())


def test_an_exact_pull_beside_a_generator_loads_nothing_heavy() -> None:
    code, loaded = loaded_modules("pull", "pencil sketch", "--json")
    assert code == 0
    assert not loaded & {"torch", "tokenizers"}


def test_words_are_refused_before_torch_is_loaded() -> None:
    code, loaded = loaded_modules("pull", "zoom")
    assert code == 1
    assert "tokenizers" in loaded
    assert "torch" not in loaded


def test_commands_say_it_once_and_do_not_warn() -> None:
    write_image(Path("photo.png"), np.zeros((16, 16, 3), np.uint8), force=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for arguments in (("pull", "asdf qwer"), ("apply", "asdf qwer", "photo.png", "-o", "out.png")):
            result = run(*arguments)
            assert result.exit_code == 0, result.output
            assert result.output.count("far from everything the zoo knows") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("models/latest_net_G.pth", "'models/latest_net_G.pth' looks like a path, and there is no such file"),
        ("faded/teal", "'faded/teal' looks like a path, and there is no such file"),
        ("photo.png", "'photo.png' is a file, and pull takes words"),
        ("teal sketch", "'teal sketch' is a file, and pull takes words"),
        ("he_norma", "no initialization scheme 'he_norma'. Did you mean 'he_normal'?"),
        ("Mean", "no initialization scheme 'Mean'. Did you mean 'mean'?"),
        ("nearest", "nearest is an initialization scheme that needs words"),
        ("generated", "generated is an initialization scheme that needs words"),
    ],
)
def test_what_is_not_words_is_not_pulled_as_words(words: str, said: str) -> None:
    for name in ("photo.png", "teal sketch"):
        Path(name).touch()
    assert said in fail("pull", words)


def test_words_that_look_like_something_else_are_words_when_it_is_said(zoo: Zoo) -> None:
    Path("teal sketch").touch()
    for words in ("faded/teal", "teal sketch", "gold.png"):
        succeed("pull", words, "--generate", "-o", "a.safetensors", "--force")
        assert Init.load("a.safetensors").metadata.wording == words
    assert "no concept 'base' in zoo" in fail("pull", "base", "--exact")


def test_a_wording_that_looks_like_a_path_is_found(tmp_path: Path) -> None:
    concept = TinyConcept("black-white", ("black/white", "zero", "look.png"))
    folder = make_zoo(tmp_path / "slashes", concepts=(*TINY_CONCEPTS, concept))
    for words in concept.prompts:
        line = succeed("pull", words, "--zoo", folder, "-o", "a.safetensors", "--force")
        assert line.startswith("black-white  slashes")
    Path("look.png").touch()
    assert "'look.png' is a file, and pull takes words" in fail("pull", "look.png", "--zoo", folder)


def test_pull_takes_the_name_of_a_scheme(zoo: Zoo) -> None:
    for name, options, file in (
        ("he_normal", ("--seed", "3"), "he_normal-seed3.safetensors"),
        ("base", (), "base.safetensors"),
        ("mean", ("--adapter-only",), "mean.safetensors"),
    ):
        line = succeed("pull", name, *options)
        assert line.startswith(f"{name}  generating  revision {zoo.revision[:7]}  scheme  ")
        assert line.endswith(f"{SCHEMES[name]}  -> {file}\n")
        init = Init.load(file)
        assert (init.metadata.origin, init.metadata.wording) == ("scheme", name)
        assert init.kind == ("adapter" if "--adapter-only" in options else "merged")
        assert verify_file(Path(file)).problems == ()
        assert succeed("pull", name, *options).endswith("(up to date)\n")
    expected = Initializer(zoo).network("he_normal", Request(seed=3)).to_arrays()
    drawn = Init.load("he_normal-seed3.safetensors").weights
    assert all(np.array_equal(drawn[weight], array) for weight, array in expected.items())
    blocks = split_blocks(Init.load("mean.safetensors").weights, TINY_RECIPE.layout)
    np.testing.assert_array_equal(blocks, zoo.mean_adapter_blocks())
    result, exact = (json.loads(succeed("pull", name, "--json")) for name in ("base", "night"))
    assert result.keys() == exact.keys()
    assert (result["origin"], result["psnr"], result["seed"]) == ("scheme", None, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--candidates", "2"), "--candidates goes with words, and zeros is an initialization scheme"),
        (("--timesteps", "2"), "--timesteps goes with words, and zeros is an initialization scheme"),
        (("--adapter-only",), "zeros has no adapter. Leave --adapter-only out"),
    ],
)
def test_options_of_words_do_not_go_with_a_scheme(options: tuple[str, ...], said: str) -> None:
    assert said in fail("pull", "zeros", *options)


def test_apply_and_from_pretrained_take_schemes_and_own_weights(zoo: Zoo, kept_generating_zoo: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(16, 24, 3), dtype=np.uint8)
    write_image(Path("photo.png"), pixels, force=False)
    model = AutoNetwork.from_pretrained("he_normal", zoo=zoo, seed=4)
    save_file(model.state_dict(), "mine.safetensors")
    model.save_pretrained("mine")
    zoo.pull("night", adapter_only=True).save("adapter.safetensors")
    for number, (given, expected) in enumerate(
        [
            ("mine.safetensors", model),
            ("mine", model),
            ("mean", AutoNetwork.from_pretrained("mean", zoo=kept_generating_zoo)),
            ("adapter.safetensors", zoo.pull("night").to_network()),
        ]
    ):
        out = Path(f"{number}.png")
        line = succeed("apply", given, "photo.png", "-o", out)
        name = "night" if given == "adapter.safetensors" else Path(given).stem
        assert line == f"{name}  photo.png  24x16  -> {out}\n"
        np.testing.assert_array_equal(read_image(out), expected.edit(pixels))
        again = AutoNetwork.from_pretrained(given, zoo=zoo)
        np.testing.assert_array_equal(again.edit(pixels), expected.edit(pixels))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("latest_net_G.pth", "'latest_net_G.pth' is not a safetensors file. Other formats can run code"),
        ("p.png", "'p.png' is an image and has no weights"),
        ("my-model", "'my-model' is a folder without config.json and model.safetensors"),
        ("nothing-here.safetensor", "'nothing-here.safetensor' does not exist"),
        ("out/mine.pt", "'out/mine.pt' does not exist"),
        ("my-model/sketch", "'my-model/sketch' does not exist"),
        ("notes", "'notes': is not a whole safetensors file"),
    ],
)
def test_files_without_weights_are_refused_everywhere(zoo: Zoo, given: str, said: str) -> None:
    Path("my-model").mkdir()
    for name in ("latest_net_G.pth", "p.png", "notes"):
        Path(name).write_bytes(b"nonsense")
    write_image(Path("photo.png"), np.zeros((16, 16, 3), np.uint8), force=False)
    for source in (given, Path(given)):
        with pytest.raises(InvalidInit, match=re.escape(said)):
            AutoNetwork.from_pretrained(source, zoo=zoo)
    for command in (
        ("apply", given, "photo.png", "-o", "out.png"),
        ("diagnose", given),
        ("finetune", given, "--teacher", "night", "-o", "new.safetensors"),
    ):
        assert said in fail(*command)


def test_from_pretrained_draws_words_with_the_seed(zoo: Zoo) -> None:
    one = AutoNetwork.from_pretrained("gold pencil sketch", zoo=zoo, seed=3)
    same = AutoNetwork.from_pretrained("generated", words="gold pencil sketch", zoo=zoo, seed=3)
    expected = zoo.pull("gold pencil sketch", seed=3).to_network()
    for name, value in expected.state_dict().items():
        assert np.array_equal(one.state_dict()[name], value)
        np.testing.assert_allclose(same.state_dict()[name], value, atol=1e-5)
    with pytest.raises(ValueError, match="words go with nearest and generated, not with 'night'"):
        AutoNetwork.from_pretrained("night", words="gold", zoo=zoo)
    with pytest.warns(UserWarning, match="weights for 'asdf qwer'") as caught:
        AutoNetwork.from_pretrained("asdf qwer", zoo=zoo)
    assert caught[0].filename == __file__
