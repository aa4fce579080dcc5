"""Networks are plain modules: what people do with any `nn.Module` works with them."""

from __future__ import annotations

import copy
import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from initzoo import AutoNetwork
from initzoo.networks.network import ImageNetwork
from initzoo.networks.pix2pix import ResNet, UNet
from initzoo.networks.starter import StarterNet

MAKERS = {
    "starter": lambda: StarterNet(n_detail=8, n_middle=8, n_full=4),
    "unet": lambda: UNet(5, 4),
    "resnet": lambda: ResNet(1, 4),
}


@pytest.fixture(params=MAKERS)
def network(request: pytest.FixtureRequest) -> ImageNetwork:
    torch.manual_seed(0)
    network = MAKERS[request.param]().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def check_equal(copied: torch.nn.Module, network: ImageNetwork, images: torch.Tensor) -> None:
    assert list(copied.state_dict()) == list(network.state_dict())
    with torch.no_grad():
        assert torch.equal(copied(images), network(images))


def test_copies_pickles_and_saved_modules_are_the_same(network, images):
    check_equal(copy.deepcopy(network), network, images)
    check_equal(pickle.loads(pickle.dumps(network)), network, images)  # noqa: S301 (our own bytes)
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    check_equal(torch.load(file, weights_only=False), network, images)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    again = type(network)(**network.sizes).eval()
    again.load_state_dict(torch.load(file, weights_only=True), strict=True)
    check_equal(again, network, images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_compute_and_edit(network, images, dtype):
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    wanted, edited = network(images), network.edit(photo).astype(int)
    other = copy.deepcopy(network).to("cpu", dtype)
    result = other(images.to(dtype))
    assert result.dtype == dtype
    error = 0.08 if dtype == torch.bfloat16 else 0.02
    assert (result.to(wanted) - wanted).abs().max() < error
    assert np.abs(other.edit(photo).astype(int) - edited).max() <= 127.5 * error
    check_equal(other.to(torch.float32).to(torch.device("cpu")), other, images)


@pytest.mark.filterwarnings("ignore")  # of tracing, about checks of shapes
def test_traced_networks_compute_the_same_at_other_sizes(network, images):
    with torch.no_grad():
        traced = torch.jit.trace(network, images[:, :, :, :32])
        torch.testing.assert_close(traced(images), network(images))


@pytest.mark.long
def test_compiled_networks_compute_the_same(network, images):
    compiled = torch.compile(network, backend="aot_eager")  # inductor needs a compiler of C++
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), network(images))
    assert [name.removeprefix("_orig_mod.") for name in compiled.state_dict()] == list(network.state_dict())


@pytest.fixture
def process_group(tmp_path, monkeypatch) -> Iterator[None]:
    monkeypatch.setitem(os.environ, "GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo", f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_distributed_networks_have_the_same_gradients(network, images, process_group):
    wrapped = torch.nn.parallel.DistributedDataParallel(copy.deepcopy(network).train())
    plain = copy.deepcopy(network).train()
    for one in (wrapped, plain):
        torch.manual_seed(0)  # of dropout
        one(images).square().mean().backward()
    gradients = {name: one.grad for name, one in plain.named_parameters()}
    for name, one in wrapped.module.named_parameters():
        torch.testing.assert_close(one.grad, gradients[name])


def gradients_of(network: torch.nn.Module, images: torch.Tensor, rank: int) -> list[torch.Tensor]:
    torch.manual_seed(rank)  # of dropout
    network(images).square().mean().backward()
    return [parameter.grad for parameter in network.parameters()]


def train_apart(rank: int, network: ImageNetwork, images: torch.Tensor, folder: Path) -> None:
    """One of two processes: its half of the images, and the gradients that it is left with."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=2)
    wrapped = torch.nn.parallel.DistributedDataParallel(network)
    torch.save(gradients_of(wrapped, images.chunk(2)[rank], rank), folder / f"{rank}.pt")
    del wrapped
    distributed.barrier()  # a process that leaves first takes the connection from the other
    distributed.destroy_process_group()


@pytest.mark.long
def test_two_processes_have_the_mean_of_their_gradients(network, tmp_path):
    network.train()
    images = torch.rand(4, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    multiprocessing.spawn(train_apart, (network, images, tmp_path), nprocs=2)
    halves = [gradients_of(copy.deepcopy(network), half, rank) for rank, half in enumerate(images.chunk(2))]
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for first, second, *own in zip(*results, *halves, strict=True):
        torch.testing.assert_close(first, second)
        torch.testing.assert_close(first, sum(own) / 2)


def test_a_network_comes_on_the_device_and_in_the_precision_that_are_named():
    network = AutoNetwork.from_pretrained(
        "night", device="cpu", dtype=torch.bfloat16, seed=3, revision=None, token=None, local_files_only=True
    )
    assert {value.dtype for value in network.state_dict().values()} == {torch.bfloat16}
    first, again = (AutoNetwork.from_pretrained("he_normal", seed=3).to_arrays() for _ in range(2))
    other = AutoNetwork.from_pretrained("he_normal", seed=4).to_arrays()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)
