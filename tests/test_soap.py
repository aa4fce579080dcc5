"""SOAP: its steps against a plain restatement, its state, and what it is for."""

import pytest
import torch
from torch import nn

from initzoo.networks import Adam, Soap

BETAS = (0.9, 0.95)


def layers(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 3))


def loss_of(network, step):
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(step))
    return network(images).square().mean()


def restated(weights, gradients, rate, betas):
    """SOAP for a matrix from the paper, with bases from the first gradient, which makes no step."""
    mean, square = torch.zeros_like(weights), torch.zeros_like(weights)
    left, _, right = torch.linalg.svd(gradients[0])
    weights = weights.clone()
    for number, gradient in enumerate(gradients[1:], start=1):
        rotated = left.T @ gradient @ right.T
        mean = betas[0] * mean + (1 - betas[0]) * gradient
        square = betas[1] * square + (1 - betas[1]) * rotated**2
        first = (left.T @ mean @ right.T) / (1 - betas[0] ** number)
        second = (square / (1 - betas[1] ** number)).sqrt() + 1e-8
        weights -= rate * left @ (first / second) @ right
    return weights


def test_steps_of_a_matrix_are_those_of_the_paper():
    generator = torch.Generator().manual_seed(1)
    layer = nn.Linear(5, 4, bias=False)
    gradients = [torch.randn(4, 5, generator=generator) for _ in range(9)]
    expected = restated(layer.weight.detach(), gradients, 1e-2, BETAS)
    soap = Soap(layer.parameters(), betas=BETAS)
    for gradient in gradients:
        layer.weight.grad = gradient.clone()
        soap.step(1e-2)
    torch.testing.assert_close(layer.weight.detach(), expected, atol=1e-5, rtol=1e-4)


def test_a_kernel_is_a_tensor_of_three_axes_and_one_place_is_none():
    kernel, pointwise = nn.Conv2d(3, 6, 3, bias=False), nn.Conv2d(4, 5, 1, bias=False)
    for layer, sides in ((kernel, {6, 3, 9}), (pointwise, {5, 4})):
        soap = Soap(layer.parameters(), betas=BETAS)
        bases = [value for name, value in soap.state().items() if ".basis" in name]
        assert {len(basis) for basis in bases} == sides
    flat = nn.Linear(4, 5, bias=False)
    flat.weight.data.copy_(pointwise.weight.data.flatten(1))
    one, two = Soap(pointwise.parameters(), betas=BETAS), Soap(flat.parameters(), betas=BETAS)
    for step in range(12):
        gradient = torch.randn(5, 4, generator=torch.Generator().manual_seed(step))
        pointwise.weight.grad, flat.weight.grad = gradient[:, :, None, None].clone(), gradient.clone()
        one.step(1e-2)
        two.step(1e-2)
    torch.testing.assert_close(pointwise.weight.flatten(1), flat.weight)


def test_bases_stay_orthogonal_and_follow_the_gradients():
    layer = nn.Linear(6, 4, bias=False)
    soap = Soap(layer.parameters(), betas=BETAS)
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([8.0, 4.0, 2.0, 1.0])
    for _ in range(201):
        layer.weight.grad = scales[:, None] * torch.randn(4, 6, generator=generator)
        soap.step(1e-3)
    basis = soap.state()["layer.0.basis0"]
    torch.testing.assert_close(basis.T @ basis, torch.eye(4), atol=1e-5, rtol=0)
    assert (basis.abs().diagonal() > 0.8).all()  # the axes of the gradients, the largest first


def test_a_restored_state_goes_on_alike():
    whole, parts = layers(), layers()
    soap, first = Soap(whole.parameters(), betas=BETAS), Soap(parts.parameters(), betas=BETAS)
    for step in range(24):
        if step == 13:
            state = {name: value.clone() for name, value in first.state().items()}
            first = Soap(parts.parameters(), betas=BETAS)
            first.load_state(state)
        for network, optimizer in ((whole, soap), (parts, first)):
            loss_of(network, step).backward()
            optimizer.step(1e-2)
    for one, two in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises((KeyError, RuntimeError)):
        Soap(nn.Linear(2, 2).parameters(), betas=BETAS).load_state(first.state())


def test_a_parameter_without_a_gradient_stays():
    network = layers()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    soap = Soap(network.parameters(), betas=BETAS)
    network[4].bias.sum().backward()
    soap.step(0.1)
    moved = [not torch.equal(one, two) for one, two in zip(network.parameters(), before, strict=True)]
    assert moved == [False] * 5 + [True]
    assert all(parameter.grad is None for parameter in network.parameters())


def test_zero_gradients_move_nothing():
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    soap = Soap(layer.parameters(), betas=BETAS)
    for _ in range(12):
        layer.weight.grad = torch.zeros_like(layer.weight)
        layer.bias.grad = torch.zeros_like(layer.bias)
        soap.step(0.1)
    assert torch.equal(layer.weight, before)


def test_badly_scaled_inputs_that_slow_adam_do_not_slow_soap():
    mixing = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0)))[0]
    inputs = torch.randn(256, 16, generator=torch.Generator().manual_seed(1)) * torch.logspace(0, -2, 16)
    inputs = inputs @ mixing
    wanted = inputs @ torch.randn(16, 8, generator=torch.Generator().manual_seed(2))

    def end(optimizer_of):
        torch.manual_seed(0)
        layer = nn.Linear(16, 8, bias=False)
        optimizer = optimizer_of(layer.parameters(), betas=(0.95, 0.95))
        for step in range(200):
            loss = (layer(inputs) - wanted).square().mean()
            loss.backward()
            optimizer.step(0.1 * (1 - step / 200))
        return loss.item()

    assert end(Soap) < 0.2 * end(Adam)


@pytest.mark.parametrize("huge", [1e30, float("inf"), float("nan")])
def test_gradients_that_overflow_end_in_weights_that_are_not_finite_instead_of_an_error(huge):
    layer = nn.Linear(3, 2, bias=False)
    soap = Soap(layer.parameters(), betas=BETAS)
    for step in range(12):
        layer.weight.grad = huge * torch.randn(2, 3, generator=torch.Generator().manual_seed(step))
        soap.step(1e-3)
    assert not layer.weight.isfinite().all()
