"""Layouts with more blocks than one attention reads: windows, their borders, memory, and training on them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from test_generator_training import bytes_of, data, quick, train, words, zoo_folder

from initzoo.checkpoints import Layout
from initzoo.errors import TrainingError
from initzoo.generator import (
    DENOISERS,
    Context,
    DenoiserShape,
    GeneratorConfig,
    PhraseEncoder,
    WeightGenerator,
    WordsEncoder,
)
from initzoo.generator.denoisers import JointDenoiser
from initzoo.generator.losses import weight_error
from initzoo.generator.sampler import sample
from initzoo.generator.schedule import add_noise
from initzoo.generator.windows import draw_window, read_in_windows, window_starts
from initzoo.pairs import catalog_folder
from initzoo.training.generator import GeneratorSettings, Stage
from initzoo.training.generator.objectives import Part, WeightObjective
from initzoo.training.graphs import export_denoiser

__all__ = ["data", "words", "zoo_folder"]

LONG = DenoiserShape(
    n_blocks=400, block_size=16, n_word_values=8, width=48, n_layers=1, window=64, n_projections=16
)


def some_words(n_rows: int) -> Context:
    vectors = torch.randn(n_rows, 3, 8, generator=torch.Generator().manual_seed(1))
    return Context(vectors, torch.ones(n_rows, 3, dtype=torch.bool))


# Windows.


@pytest.mark.parametrize("n_blocks", [65, 90, 113, 127, 400, 1999])
@pytest.mark.parametrize("overlap", [0, 8, 16, 21])
def test_windows_cover_all_blocks_and_overlap_enough(n_blocks: int, overlap: int) -> None:
    starts = window_starts(n_blocks, 64, overlap)
    assert starts[0] == 0
    assert starts[-1] == n_blocks - 64
    steps = np.diff(starts)
    assert 0 < steps.min() <= steps.max() <= 64 - overlap
    assert len(starts) == 1 + -(-(n_blocks - 64) // (64 - overlap))  # and no more than that
    blocks = torch.randn(2, n_blocks, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(read_in_windows(lambda part, first: part, blocks, window=64, overlap=overlap), blocks)


def test_a_prediction_passes_linearly_from_one_window_to_the_next() -> None:
    """Windows that disagree as much as they can, 0 and 1: neighbouring blocks differ by 1/17 at most."""
    seen: list[int] = []

    def read(part: torch.Tensor, first: int) -> torch.Tensor:
        seen.append(first)
        return torch.full_like(part, (len(seen) + 1) % 2)

    joined = read_in_windows(read, torch.zeros(1, 400, 1), window=64, overlap=16)[0, :, 0]
    assert seen == window_starts(400, 64, 16)
    assert float(joined.diff().abs().max()) == pytest.approx(1 / 17, abs=1e-6)
    assert joined[0] == 0
    assert {0.0, 1.0} <= set(joined.tolist())


def test_all_blocks_are_trained_on_about_as_often() -> None:
    rng, counts = np.random.default_rng(0), np.zeros(400)
    for _ in range(20_000):
        first = draw_window(400, 64, lambda n: int(rng.integers(n)))
        counts[first : first + 64] += 1
    assert counts.min() / counts.mean() > 0.4
    assert counts.max() / counts.mean() < 1.7


# Denoisers.


@pytest.mark.parametrize("kind", DENOISERS)
def test_one_window_over_all_blocks_is_the_plain_denoiser(kind: str) -> None:
    """The same bytes, since a layout that fits into a window has none."""
    shape = DenoiserShape(n_blocks=6, block_size=64, n_word_values=8, width=48)
    torch.manual_seed(0)
    denoiser = DENOISERS[kind](shape)
    for parameter in denoiser.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    given = (torch.randn(2, 6, 64), torch.tensor([1.0, 0.3]), some_words(2))
    with torch.no_grad():
        assert torch.equal(denoiser(*given), denoiser(*given, first=0))
    settings = GeneratorSettings(kind=kind)
    short = settings.shape(n_blocks=2048, n_word_values=8)
    assert (short.window, short.n_projections) == (0, 0)
    long = settings.shape(n_blocks=2049, n_word_values=8)
    assert (long.window, long.overlap, long.n_projections) == (2048, 512, 256 if kind == "joint" else 0)


def test_runs_of_blocks_share_a_projection() -> None:
    torch.manual_seed(0)
    shape = replace(LONG, n_blocks=10, n_projections=4, window=8)
    denoiser = JointDenoiser(shape)
    x, bias = torch.randn(2, 5, 16), torch.randn(4, 48)
    found = denoiser._project(x, 4, denoiser.enter, bias)
    for place in range(5):
        number = (4 + place) * 4 // 10
        expected = x[:, place] @ denoiser.enter[number] + bias[number]
        torch.testing.assert_close(found[:, place], expected)


@pytest.mark.parametrize("n_projections", [0, 16])
def test_blocks_of_a_separate_unet_do_not_depend_on_windows(n_projections: int) -> None:
    shape = DenoiserShape(n_blocks=20, block_size=64, n_word_values=8, width=48, window=8)
    torch.manual_seed(0)
    denoiser = DENOISERS["unet"](shape)
    torch.nn.init.normal_(denoiser.leave.weight)
    given = (torch.randn(1, 20, 64), torch.ones(1), some_words(1))
    with torch.no_grad():
        torch.testing.assert_close(denoiser(*given), denoiser(*given, first=0), atol=1e-5, rtol=1e-5)


def test_gradients_through_windows_are_those_of_reading_them_at_once() -> None:
    """Windows are read again in the backward pass, so that memory is that of one."""
    torch.manual_seed(0)
    denoiser = JointDenoiser(replace(LONG, n_blocks=100))
    torch.nn.init.normal_(denoiser.leave, std=0.1)
    given = (torch.randn(2, 100, 16), torch.tensor([1.0, 0.3]), some_words(2))
    denoiser(*given).square().sum().backward()
    found = {name: value.grad.clone() for name, value in denoiser.named_parameters()}
    denoiser.zero_grad()
    noised, timesteps, context = given
    first, second = (
        denoiser(noised[:, start : start + 64], timesteps, context, first=start) for start in (0, 36)
    )
    ramp = torch.arange(1, 17)[:, None] / 17  # over blocks 42 to 57
    shared = first[:, 42:58] * (1 - ramp) + second[:, 6:22] * ramp
    torch.cat([first[:, :42], shared, second[:, 22:]], dim=1).square().sum().backward()
    for name, value in denoiser.named_parameters():
        torch.testing.assert_close(found[name], value.grad, atol=1e-3, rtol=1e-4)


def clean_blocks(n_rows: int, seed: int) -> tuple[Context, torch.Tensor]:
    """Adapters that depend on their words: a few smooth patterns over all 400 blocks, with unit variance."""
    patterns = torch.randn(8, 16, 16, generator=torch.Generator().manual_seed(7)).repeat_interleave(25, dim=1)
    vectors = torch.randn(n_rows, 1, 8, generator=torch.Generator().manual_seed(seed))
    clean = torch.einsum("rk,kbv->rbv", vectors[:, 0], patterns) / 8**0.5
    return Context(vectors, torch.ones(n_rows, 1, dtype=torch.bool)), clean


@pytest.fixture(scope="module")
def taught() -> JointDenoiser:
    """A denoiser that was taught by one window a step."""
    torch.manual_seed(0)
    denoiser = JointDenoiser(LONG)
    optimizer = torch.optim.Adam(denoiser.parameters(), 2e-3)
    for step in range(600):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - step / 600)
        context, clean = clean_blocks(16, 1000 + step)
        first = draw_window(400, 64, lambda n: int(torch.randint(n, ())))
        clean = clean[:, first : first + 64]
        timesteps = torch.rand(16)
        timesteps[:8] = 1.0
        noised = add_noise(clean, torch.randn_like(clean), timesteps)
        optimizer.zero_grad()
        weight_error(denoiser(noised, timesteps, context, first=first), clean, torch.ones(64, 16)).backward()
        optimizer.step()
    return denoiser.eval().requires_grad_(False)


@pytest.mark.long
@pytest.mark.parametrize("n_timesteps", [1, 4])
def test_blocks_at_the_borders_of_windows_agree(taught: JointDenoiser, n_timesteps: int) -> None:
    context, clean = clean_blocks(4, 1)
    noise = torch.randn(4, 400, 16, generator=torch.Generator().manual_seed(3))

    def generate(denoiser: JointDenoiser) -> torch.Tensor:
        def denoise(noised: np.ndarray, timestep: float) -> np.ndarray:
            timesteps = torch.full((4,), timestep)
            return denoiser(torch.from_numpy(noised), timesteps, context).numpy()

        return torch.from_numpy(sample(denoise, noise.numpy(), n_timesteps=n_timesteps))

    made = generate(taught)
    errors = (made - clean).square().mean(dim=(0, 2))  # of each block; that of the mean adapter is 1
    assert float(errors.mean()) < 0.1
    at_border = torch.zeros(400, dtype=torch.bool)
    starts = window_starts(400, 64, 16)
    for start, then in pairwise(starts):
        middle = (start + 64 + then) // 2
        at_border[middle - 8 : middle + 8] = True
    assert float(errors[at_border].mean()) < 1.2 * float(errors[~at_border].mean())
    # Where windows begin changes less than a twentieth of the error.
    for window in (48, 56, 72):
        other = JointDenoiser(replace(LONG, window=window))
        other.load_state_dict(taught.state_dict())
        difference = float((generate(other.requires_grad_(False)) - made).square().mean())
        assert difference < 0.05 * float(errors.mean())


@pytest.mark.long
def test_neighbouring_windows_predict_nearly_the_same(taught: JointDenoiser) -> None:
    context, _ = clean_blocks(4, 1)
    noise = torch.randn(4, 400, 16, generator=torch.Generator().manual_seed(3))
    for start, then in pairwise(window_starts(400, 64, 16)):
        one, other = (
            taught(noise[:, first : first + 64], torch.ones(4), context, first=first)
            for first in (start, then)
        )
        n_shared = start + 64 - then
        assert float((one[:, -n_shared:] - other[:, :n_shared]).square().mean()) < 0.01


MEASURE = """
import sys
from dataclasses import replace
import numpy as np, torch
from initzoo.checkpoints import Layout
from initzoo.generator import DenoiserShape, GeneratorConfig, WeightGenerator, build_denoiser
from initzoo.generator.tokens import TokenVectors

torch.set_num_threads(1)
n_blocks, window, width = map(int, sys.argv[1:4])
def peak():
    # Not getrusage(), whose peak a child process inherits.
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

layout = Layout(tensors=(("layer.weight", (n_blocks, 256)),), block_size=256)
shape = DenoiserShape(
    n_blocks=n_blocks, block_size=256, n_word_values=8, width=width, n_layers=1,
    window=window if window < n_blocks else 0, n_projections=64 if window < n_blocks else 0,
)
config = GeneratorConfig("joint", shape, layout, "synthetic", "0" * 64)
denoiser = build_denoiser("joint", shape, seed=0)
torch.nn.init.normal_(denoiser.leave, std=0.1)
text = TokenVectors.tiny("pencil sketch".split(), n_values=8)
sizes = layout.n_blocks, 256
generator = WeightGenerator(
    config, denoiser, text, mean=np.zeros(sizes, np.float32), scale=np.ones(sizes, np.float32)
)
before = peak()
blocks = generator.generate("pencil sketch", n_timesteps=1)
assert blocks.shape == sizes and np.isfinite(blocks).all() and blocks.std() > 0
if len(sys.argv) > 4:  # a step of training, of one window
    from initzoo.generator import Context, draw_window, weight_error
    denoiser.requires_grad_(True)
    first = draw_window(n_blocks, window, lambda n: n // 2)
    part = torch.randn(4, window, 256)
    context = Context(torch.randn(4, 2, 8), torch.ones(4, 2, dtype=torch.bool))
    predicted = denoiser(part, torch.ones(4), context, first=first)
    weight_error(predicted, part, torch.ones(window, 256)).backward()
print(peak() - before)
"""


def measure(n_blocks: int, window: int, width: int, *, is_trained: bool) -> float:
    """Memory that generation, and a step of training, add to that of the weight generator, MB."""
    arguments = [n_blocks, window, width, *([1] if is_trained else [])]
    command = [sys.executable, "-c", MEASURE, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr
    return float(result.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_memory_of_20_000_blocks_is_that_of_a_window_besides_the_blocks() -> None:
    """Further blocks cost a few copies of themselves, which are 1 KB each, and no attention."""
    small, large = (measure(n_blocks, 512, 48, is_trained=True) for n_blocks in (5_000, 20_000))
    assert large - small < 8 * 15_000 / 1024
    assert small < 150


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_an_adapter_of_54_million_values_is_generated() -> None:
    assert measure(210_000, 2048, 48, is_trained=True) < 8 * 210_000 / 1024


def test_a_denoiser_of_windows_is_trained_saved_and_read(data, words, tmp_path, kept_photo_folder) -> None:
    settings = quick(window=4)
    n_blocks = settings.n_blocks(data.recipe.layout)
    assert n_blocks > 8
    made = train(data, words, settings, tmp_path / "run", kept_photo_folder)
    assert (made.config.shape.window, made.config.shape.n_projections) == (4, 0)
    bytes_of(made, tmp_path / "generator")
    again = WeightGenerator.from_pretrained(tmp_path / "generator")
    blocks = made.generate("pencil sketch", n_timesteps=2)
    assert np.array_equal(again.generate("pencil sketch", n_timesteps=2), blocks)
    assert not np.allclose(
        blocks[again.layout.n_blocks // 2 :], made.generate("duotone")[again.layout.n_blocks // 2 :]
    )


def test_windows_train_in_the_memory_of_a_device(data, tmp_path, kept_photo_folder) -> None:
    phrases = PhraseEncoder.from_folder(catalog_folder() / "model" / "phrase_encoder")
    brief = quick(window=4, encoder="phrases", weights=Stage(20, 4, 3e-3), behaviour=Stage(4, 2, 1e-3))
    made = train(data, phrases, brief, tmp_path / "run", kept_photo_folder, device=torch.device("cpu", 0))
    assert made.config.shape.window == 4
    assert np.isfinite(made.generate("pencil sketch")).all()


def test_the_error_of_windows_is_on_average_that_of_all_blocks(data, words) -> None:
    lessons = WordsEncoder(words).lessons(data, quick())
    whole, parts = (WeightObjective(data, quick(window=size), lessons) for size in (2048, 4))
    n_blocks = len(whole.importance)

    class Mean(torch.nn.Module):
        def forward(self, noised, timesteps, context, first=None):
            return torch.zeros_like(noised)

    residuals = whole._residuals
    given = {"concepts": np.arange(len(residuals)), "context": None, "timesteps": None, "rng": None}
    expected = float(whole.loss(Mean(), Part(clean=residuals, noised=residuals, **given)))
    found = []
    for first in range(0, n_blocks - n_blocks % 4, 4):
        own = residuals[:, first : first + 4]
        found.append(float(parts.loss(Mean(), Part(clean=own, noised=own, first=first, **given))))
    # The last window, of less than four blocks, is left out; so its share is missing on both sides.
    n_used = 4 * len(found)
    own, importance = residuals[:, :n_used], whole.importance[:n_used]
    share = float(importance.sum() / whole.importance.sum()) * n_blocks / n_used
    used = float(weight_error(torch.zeros_like(own), own, importance)) * share
    assert np.mean(found) == pytest.approx(used, rel=1e-5)
    assert n_used < n_blocks or used == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [{"window": 400}, {"window": 3}, {"window": 0}, {"n_projections": 401}, {"n_blocks": 2**20 + 1}],
)
def test_sizes_that_make_no_sense_are_refused(change: dict[str, int]) -> None:
    shape = replace(LONG, **change)
    layout = Layout(tensors=(("layer.weight", (shape.n_blocks, 16)),), block_size=16)
    with pytest.raises(ValueError, match="the sizes of the denoiser are invalid"):
        GeneratorConfig("joint", shape, layout, "long", "0" * 64)


def test_what_windows_cannot_do_is_one_line(data, words, tmp_path, photo_folder) -> None:
    with pytest.raises(ValueError, match="window must be from 4 to 65536 blocks, found 3"):
        quick(window=3)
    with pytest.raises(
        TrainingError, match="read all blocks of an adapter at once, at most 4 of them. Leave"
    ):
        train(
            data, words, quick(window=4, encoder="phrases", pairs=Stage(1, 2, 1e-3)), tmp_path, photo_folder
        )
    with pytest.raises(TrainingError, match="of 400 blocks is read in windows of 64, which a graph cannot"):
        export_denoiser("joint", LONG)
