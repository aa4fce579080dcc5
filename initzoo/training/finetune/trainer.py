"""The trainer of one network: steps, and the complete state as named tensors."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from initzoo.checkpoints import to_psnr
from initzoo.networks import (
    Adam,
    GradientClip,
    NaturalGradient,
    PatchDiscriminator,
    Soap,
    initialise_by_the_book,
)
from initzoo.training.finetune.settings import FinetuneSettings, rate_at
from initzoo.training.gan import DISCRIMINATOR_BETAS, discriminator_loss, network_loss
from initzoo.training.harvest.updates import TrainingDiverged, draw_crops
from initzoo.training.start import WithAdapter

__all__ = ["Trainer"]

Pixels = NDArray[np.uint8]

_ADAPTER_BETAS = (0.65, 0.95)

_RATES = {"soap": Soap.HIGHEST_RATE, "adam": 1e-3}
"""Largest default learning rates of the weights, by optimizer."""

_ADAPTER_RATE, _ADAPTER_STEPS = 8e-3, 40
"""Largest default learning rate of an adapter, and the number of steps from which on it is allowed."""

_POOR_PSNR = 16.0
"""PSNR of a start on the pairs, dB, up to which the learning rates are the largest."""

_N_JUDGED = 16
"""Crops on which a start is judged."""

_N_NATURAL, _N_CHECKED, _NATURAL_CROP = 16, 32, 32
"""Crops that a natural-gradient step sees, others that must agree, and their side in pixels. Many small ones
say more of the pairs than few large ones, for the same work."""


class Trainer:
    """Trains a network, and a discriminator if the settings have one.

    Args:
        network: maps images `(n, 3, height, width)` to images, values -1 to 1; trained in place. Parameters
            without gradient stay unchanged.
        settings: objective and schedule.
        device: device to compute on; the network is moved to it.

    Example:
        >>> network = nn.Conv2d(3, 3, 1)
        >>> trainer = Trainer(network, FinetuneSettings(n_steps=2, gan="off"), torch.device("cpu"))
        >>> crops = torch.zeros(1, 3, 64, 64)
        >>> error = trainer.step(crops, crops)
        >>> trainer.n_done
        1
    """

    def __init__(self, network: nn.Module, settings: FinetuneSettings, device: torch.device) -> None:
        self.settings, self.device = settings, device
        self.n_done = 0
        self.network = network.to(device).train()
        adapter = [network.adapter] if isinstance(network, WithAdapter) else []
        known = {id(parameter) for parameter in adapter}
        weights = [one for one in network.parameters() if one.requires_grad and id(one) not in known]
        self.optimizer = _optimizer_of(weights) if settings.optimizer == "auto" else settings.optimizer
        of_weights = Soap if self.optimizer == "soap" else Adam
        self._optimizers: dict[str, Adam | Soap] = {
            "adapter": Adam(adapter, betas=_ADAPTER_BETAS),
            "weights": of_weights(weights, betas=settings.betas),
        }
        self._has_dropout = any(isinstance(layer, nn.Dropout) for layer in network.modules())
        # Only what a zoo's start has learnt can be spoilt by a batch.
        self._clip = GradientClip([*adapter, *weights]) if adapter else None
        # As a tensor, it belongs to the state.
        self._caution = torch.ones(())
        self._judge: PatchDiscriminator | None = None
        if settings.gan != "off":
            self._judge = PatchDiscriminator(settings.discriminator_width)
            initialise_by_the_book(self._judge, torch.Generator().manual_seed(settings.seed))
            self._judge.to(device).train()
            judges = self._judge.parameters()
            self._optimizers["discriminator"] = Adam(judges, betas=DISCRIMINATOR_BETAS)
        self._mean = copy.deepcopy(network).requires_grad_(False) if settings.ema else None

    @property
    def kept(self) -> nn.Module:
        """The network with the resulting weights: the running mean, if there is one. Not a copy."""
        return self.network if self._mean is None else self._mean

    @property
    def learning_rate(self) -> float:
        """The maximum learning rate of the weights."""
        if self.settings.learning_rate is not None:
            return self.settings.learning_rate
        most, caution = _RATES[self.optimizer], float(self._caution)
        if self.optimizer == "adam":
            return caution * most
        # Many steps can afford large ones, since the rate falls to zero at their end.
        return min(most, caution * self.settings.n_steps * Soap.RATE_PER_STEP)

    @property
    def adapter_rate(self) -> float:
        """The maximum learning rate of the adapter."""
        if self.settings.adapter_rate is not None:
            return self.settings.adapter_rate
        # Adam's first steps have full length however good the start is, and few steps cannot mend the harm.
        few = min(1.0, self.settings.n_steps / _ADAPTER_STEPS)
        return float(self._caution) * few * _ADAPTER_RATE

    def prepare(self, pairs: Sequence[tuple[Pixels, Pixels]]) -> int:
        """Before the first step: take natural-gradient steps on the adapter, and choose the learning rates.

        A good start wants small steps, so the rates fall by a factor of ten for 30 dB of a start beyond 16.
        The weights of networks without an adapter stay as they are.

        Args:
            pairs: inputs and targets, uint8, shape `(height, width, 3)`, not smaller than a crop.

        Returns:
            The number of natural-gradient steps that lowered the error.
        """
        network = self.network
        n_natural = self._take_natural_steps(network, pairs) if isinstance(network, WithAdapter) else 0
        inputs, targets = self._crops(pairs, _N_JUDGED, draw=0)
        network.eval()  # neither running statistics nor random numbers are touched
        with torch.no_grad():
            error = float((network(inputs).clamp(-1, 1) - targets).square().mean()) / 4
        network.train()
        self._caution = torch.tensor(min(1.0, 10 ** ((_POOR_PSNR - to_psnr(error)) / 30)))
        return n_natural

    def _take_natural_steps(self, network: WithAdapter, pairs: Sequence[tuple[Pixels, Pixels]]) -> int:
        trained = [parameter for parameter in network.base.parameters() if parameter.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        multiple = getattr(network.base.network, "multiple", 1)
        size = min(self.settings.crop_size, multiple * math.ceil(_NATURAL_CROP / multiple))
        natural, n_taken = NaturalGradient(network.base, seed=self.settings.seed), 0
        for number in range(self.settings.n_natural):
            crops, others = (
                self._crops(pairs, n_crops, draw=2 * number + draw, size=size)
                for draw, n_crops in ((1, _N_NATURAL), (2, _N_CHECKED))
            )
            moved, _ = natural.take(network.adapter, *crops)
            # Few crops do not stand for all, so steps end where they no longer lower the error of others.
            if not natural.error(moved, *others) < natural.error(network.adapter.detach(), *others):
                break
            network.adapter.data.copy_(moved)
            n_taken += 1
        for parameter in trained:
            parameter.requires_grad_(True)
        return n_taken

    def _crops(
        self, pairs: Sequence[tuple[Pixels, Pixels]], n_crops: int, *, draw: int, size: int = 0
    ) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.settings.seed, 0, draw])
        size, grid = size or self.settings.crop_size, self.settings.crop_grid
        images = draw_crops(pairs, n_crops=n_crops, crop_size=size, rng=rng, grid=grid)
        return images[0].to(self.device), images[1].to(self.device)

    def step(self, inputs: Tensor, targets: Tensor) -> float:
        """Take one step on a batch.

        Args:
            inputs: crops, shape `(n, 3, size, size)`, values -1 to 1.
            targets: targets of the crops, same shape.

        Returns:
            The mean absolute error before the step, for values from -1 to 1.

        Raises:
            TrainingDiverged: a loss is not finite.
        """
        factor = rate_at(self.n_done, self.settings)
        inputs, targets = inputs.to(self.device), targets.to(self.device)
        with self._noise(), self._autocast():
            edited = self.network(inputs).float()
        error = (edited - targets).abs().mean()
        loss = error
        if self._judge is not None:
            self._train_judge(inputs, targets, edited.detach(), self.settings.discriminator_rate * factor)
            with self._autocast():
                judged = self._judge(inputs, edited)
            loss = network_loss(self.settings.gan, judged, error, l1_weight=self.settings.l1_weight)
        loss.backward()
        value, total = error.item(), loss.item()
        if not math.isfinite(total):
            raise TrainingDiverged(f"the loss is {total} at step {self.n_done}")
        if self._clip is not None:
            self._clip()
        self._optimizers["adapter"].step(self.adapter_rate * factor)
        self._optimizers["weights"].step(self.learning_rate * factor)
        self._update_mean()
        self.n_done += 1
        return value

    def check_finite(self) -> None:
        """Check that all weights are finite.

        Raises:
            TrainingDiverged: a weight is NaN or infinite.
        """
        if not all(bool(part.isfinite().all()) for part in self.network.state_dict().values()):
            raise TrainingDiverged(f"a weight is NaN or infinite after step {self.n_done - 1}")

    def state(self) -> dict[str, Tensor]:
        """The complete state apart from the data, as tensors by name, on the CPU."""
        parts = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        parts["caution"] = self._caution
        if self._clip is not None:
            parts |= {f"clip.{name}": value for name, value in self._clip.state().items()}
        for kind, optimizer in self._optimizers.items():
            parts |= {f"optimizer.{kind}.{name}": value for name, value in optimizer.state().items()}
        if self._judge is not None:
            parts |= {f"discriminator.{name}": value for name, value in self._judge.state_dict().items()}
        if self._mean is not None:
            parts |= {f"mean.{name}": value for name, value in self._mean.state_dict().items()}
        return {name: value.detach().cpu().contiguous().clone() for name, value in parts.items()}

    def load_state(self, parts: Mapping[str, Tensor], *, n_done: int) -> None:
        """Restore the output of `state` after `n_done` steps.

        Raises:
            KeyError, RuntimeError: the state is that of another training.
        """
        self.network.load_state_dict(_below("network.", parts))
        self._caution = parts["caution"]
        if self._clip is not None:
            self._clip.load_state(_below("clip.", parts))
        for kind, optimizer in self._optimizers.items():
            optimizer.load_state(_below(f"optimizer.{kind}.", parts))
        if self._judge is not None:
            self._judge.load_state_dict(_below("discriminator.", parts))
        if self._mean is not None:
            self._mean.load_state_dict(_below("mean.", parts))
        self.n_done = n_done

    def _train_judge(self, inputs: Tensor, targets: Tensor, edited: Tensor, rate: float) -> None:
        assert self._judge is not None
        self._judge.requires_grad_(True)
        with self._autocast():
            real, made = self._judge(inputs, targets), self._judge(inputs, edited)
        loss = discriminator_loss(self.settings.gan, real, made)
        loss.backward()
        self._optimizers["discriminator"].step(rate)
        self._judge.requires_grad_(False)  # the network's step needs gradients through it, not of it

    @contextlib.contextmanager
    def _noise(self) -> Iterator[None]:
        """Seed dropout by the number of the step, so that a resumed training drops the same values."""
        if not self._has_dropout:
            yield
            return
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(
                int(np.random.default_rng([self.settings.seed, self.n_done, 1]).integers(2**63))
            )
            yield

    def _autocast(self) -> AbstractContextManager[object]:
        if not self.settings.bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @torch.no_grad()
    def _update_mean(self) -> None:
        if self._mean is None:
            return
        # A smaller decay at first, so that the running mean forgets the start quickly.
        decay = min(self.settings.ema, (1 + self.n_done) / (10 + self.n_done))
        for kept, value in zip(self._mean.parameters(), self.network.parameters(), strict=True):
            kept.lerp_(value, 1 - decay)
        for kept_buffer, buffer in zip(self._mean.buffers(), self.network.buffers(), strict=True):
            kept_buffer.copy_(buffer)


def _optimizer_of(weights: Sequence[nn.Parameter]) -> Literal["soap", "adam"]:
    return "soap" if Soap.suits(weights) else "adam"


def _below(prefix: str, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in parts.items() if name.startswith(prefix)}
