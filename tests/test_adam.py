"""Adam without torch.optim: the same steps, restored as they were, and no compiler on the way."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from initzoo.networks import Adam


def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 1))


def loss_of(network, step):
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(step))
    return network(images).square().mean()


def test_steps_are_those_of_torch_bit_for_bit():
    ours, theirs = layers(), layers()
    adam = Adam(ours.parameters(), betas=(0.8, 0.95))
    reference = torch.optim.Adam(theirs.parameters(), betas=(0.8, 0.95), fused=True)
    for step in range(5):
        loss_of(ours, step).backward()
        adam.step(1e-2 / (step + 1))
        reference.zero_grad()
        loss_of(theirs, step).backward()
        reference.param_groups[0]["lr"] = 1e-2 / (step + 1)
        reference.step()
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_restored_state_goes_on_alike():
    whole, parts = layers(), layers()
    adam, first = Adam(whole.parameters(), betas=(0.9, 0.99)), Adam(parts.parameters(), betas=(0.9, 0.99))
    for step in range(6):
        if step == 3:
            state = {name: value.clone() for name, value in first.state().items()}
            first = Adam(parts.parameters(), betas=(0.9, 0.99))
            first.load_state(state)
        for network, optimizer in ((whole, adam), (parts, first)):
            loss_of(network, step).backward()
            optimizer.step(1e-2)
    for one, two in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(RuntimeError):
        Adam(nn.Linear(2, 2).parameters(), betas=(0.9, 0.99)).load_state(first.state())


def test_a_parameter_without_a_gradient_stays():
    network = layers()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    adam = Adam(network.parameters(), betas=(0.9, 0.99))
    network[2].bias.sum().backward()
    adam.step(0.1)
    after = list(network.parameters())
    assert [torch.equal(one, two) for one, two in zip(before, after, strict=True)] == [
        True,
        True,
        True,
        False,
    ]
    assert all(parameter.grad is None for parameter in after)


def test_no_compiler_is_imported_for_a_fine_tune_or_a_fit():
    program = """
import sys
import numpy as np
from initzoo import finetune
photos = [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8) for seed in range(3)]
finetune([(photo, 255 - photo) for photo in photos], n_steps=1)
print("torch._dynamo" in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n", run.stderr
