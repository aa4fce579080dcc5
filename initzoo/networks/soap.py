"""SOAP: Adam in the eigenbases of Shampoo's preconditioner, for networks trained from random weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from initzoo.networks.adam import Adam

__all__ = ["Soap"]

_EPSILON = 1e-8
_PERIOD = 10
"""Steps between two updates of the eigenbases."""

_MOST_CHANNELS = 128
"""Longest axis of a parameter that SOAP suits: beyond, its steps take several times as long as Adam's."""


class Soap:
    """SOAP without weight decay. Parameters of less than two axes are trained by Adam.

    A kernel of a convolution has three axes: outputs, inputs, and places. For each axis, a running mean of
    the second moment of the gradients is kept. Adam runs in the eigenbases of these matrices. The first call
    only sets the bases, and moves no parameter of two or more axes.

    Args:
        parameters: parameters to train, on one device.
        betas: decay of the running means of gradients, and of their squares and second moments.

    Source:
        Vyas et al. (2025), arXiv:2409.11321, algorithm 3, with one matrix for the places of a kernel.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> optimizer, target = Soap(layer.parameters(), betas=(0.95, 0.95)), torch.ones(4, 2)
        >>> losses = []
        >>> for _ in range(50):
        ...     loss = (layer(torch.eye(4)) - target).square().mean()
        ...     losses.append(loss.item())
        ...     loss.backward()
        ...     optimizer.step(0.1)
        >>> losses[-1] < 0.1 * losses[0] + 1e-3
        True
    """

    RATE_PER_STEP = 1.5e-4
    """Rate that suits a poor start, for each step of a training whose rate falls to zero."""

    HIGHEST_RATE = 1e-2
    """Highest rate that suits a start of a zoo, however many the steps."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, betas: tuple[float, float]) -> None:
        parameters = list(parameters)
        self.betas = betas
        self._plain = Adam([one for one in parameters if one.ndim < 2], betas=betas)
        self._layers = [_Layer(one) for one in parameters if one.ndim > 1]

    @staticmethod
    def suits(parameters: Iterable[Tensor]) -> bool:
        """Whether all parameters are small: the rotations of large ones take longer than the rest of a step.

        Example:
            >>> Soap.suits([torch.zeros(64, 32, 3, 3)]), Soap.suits([torch.zeros(256, 32)])
            (True, False)
        """
        return all(max(one.shape, default=1) <= _MOST_CHANNELS for one in parameters)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take a step along the gradients, and delete them. A parameter without a gradient stays.

        Args:
            rate: learning rate of this step.
        """
        self._plain.step(rate)
        for layer in self._layers:
            layer.step(rate, self.betas)

    def forget(self) -> None:
        """Delete the gradients."""
        self._plain.forget()
        for layer in self._layers:
            layer.parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Running means, eigenbases and counts by name."""
        return {f"plain.{name}": value for name, value in self._plain.state().items()} | {
            f"layer.{place}.{name}": value
            for place, layer in enumerate(self._layers)
            for name, value in layer.values().items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the output of `state`.

        Raises:
            KeyError, RuntimeError: the state is that of other parameters.
        """
        self._plain.load_state(
            {name.removeprefix("plain."): value for name, value in state.items() if name.startswith("plain.")}
        )
        for place, layer in enumerate(self._layers):
            for name, value in layer.values().items():
                value.copy_(state[f"layer.{place}.{name}"])


class _Layer:
    """A weight of two or more axes, with the state of its optimizer."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter = parameter
        self._shape = (*parameter.shape[:2], -1) if parameter.ndim > 2 else tuple(parameter.shape)
        flat = parameter.detach().reshape(self._shape)
        # An axis of length one, the place of a pointwise convolution, has nothing to be rotated.
        self._axes = [axis for axis, length in enumerate(flat.shape) if length > 1]
        self._mean = torch.zeros_like(flat)
        self._square = torch.zeros_like(flat)
        self._count = torch.zeros((), device=parameter.device)
        self._moments = [flat.new_zeros(flat.shape[axis], flat.shape[axis]) for axis in self._axes]
        self._bases = [torch.eye(flat.shape[axis], device=flat.device) for axis in self._axes]

    def values(self) -> dict[str, Tensor]:
        """The tensors of the state, by name."""
        named = {"mean": self._mean, "square": self._square, "count": self._count}
        for axis, moment, basis in zip(self._axes, self._moments, self._bases, strict=True):
            named |= {f"moment{axis}": moment, f"basis{axis}": basis}
        return named

    def step(self, rate: float, betas: tuple[float, float]) -> None:
        if self.parameter.grad is None:
            return
        gradient = self.parameter.grad.reshape(self._shape)
        self.parameter.grad = None
        for moment, axis in zip(self._moments, self._axes, strict=True):
            rows = gradient.movedim(axis, 0).flatten(1)
            moment.lerp_(rows @ rows.T, 1 - betas[1])
        self._count += 1
        count = int(self._count) - 1
        if count == 0:
            # In its own eigenbases a gradient is a diagonal and rounding errors, which Adam would make as
            # large as the diagonal. So the first one only sets the bases.
            for basis, moment in zip(self._bases, self._moments, strict=True):
                if moment.isfinite().all():  # of a diverging network it is not, and LAPACK would raise
                    basis.copy_(torch.linalg.eigh(moment.double())[1].flip(1))
            return
        rotated = self._rotate(gradient)
        self._mean.lerp_(gradient, 1 - betas[0])
        self._square.lerp_(rotated.square_(), 1 - betas[1])
        # Adam, with the mean kept in the coordinates of the weights, which do not change.
        unbiased = math.sqrt(1 - betas[1] ** count)
        step = self._rotate(self._mean).div_(self._square.sqrt().add_(_EPSILON * unbiased))
        scale = rate * unbiased / (1 - betas[0] ** count)
        self.parameter.sub_(self._rotate(step, back=True).mul_(scale).view_as(self.parameter))
        if count % _PERIOD == 0:
            self._turn()

    def _turn(self) -> None:
        """Turn the bases towards the eigenvectors of the moments, by a step of orthogonal iteration."""
        for basis, moment, axis in zip(self._bases, self._moments, self._axes, strict=True):
            turned = moment @ basis
            # Sorted, the columns converge one after the other.
            order = (basis * turned).sum(dim=0).argsort(descending=True)
            self._square.copy_(self._square.index_select(axis, order))
            basis.copy_(torch.linalg.qr(turned[:, order])[0])

    def _rotate(self, tensor: Tensor, *, back: bool = False) -> Tensor:
        """Into the eigenbases, or back."""
        for basis in self._bases if len(self._axes) == tensor.ndim else ():
            # Each product moves the first axis to the end, so that all axes come in turn.
            tensor = torch.tensordot(tensor, basis, dims=([0], [1 if back else 0]))
        if len(self._axes) < tensor.ndim:
            for basis, axis in zip(self._bases, self._axes, strict=True):
                turned = torch.tensordot(tensor, basis, dims=([axis], [1 if back else 0]))
                tensor = turned.movedim(-1, axis)
        return tensor
