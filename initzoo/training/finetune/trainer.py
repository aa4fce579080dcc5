"""The trainer of one network: steps, and the complete state as named tensors."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from initzoo.networks import PatchDiscriminator, initialise_by_the_book
from initzoo.training.finetune.objective import discriminator_loss, network_loss
from initzoo.training.finetune.settings import FinetuneSettings, rate_at
from initzoo.training.harvest.updates import TrainingDiverged

__all__ = ["Trainer"]

_DISCRIMINATOR_BETAS = (0.5, 0.999)


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
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._optimizer = _adam(trained, settings.learning_rate, settings.betas)
        self._judge: PatchDiscriminator | None = None
        if settings.gan != "off":
            self._judge = PatchDiscriminator(settings.discriminator_width)
            initialise_by_the_book(self._judge, torch.Generator().manual_seed(settings.seed))
            self._judge.to(device).train()
            judges = list(self._judge.parameters())
            self._judge_optimizer = _adam(judges, settings.discriminator_rate, _DISCRIMINATOR_BETAS)
        self._mean = copy.deepcopy(network).requires_grad_(False) if settings.ema else None

    @property
    def kept(self) -> nn.Module:
        """The network with the resulting weights: the running mean, if there is one. Not a copy."""
        return self.network if self._mean is None else self._mean

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
        self._set_rates()
        inputs, targets = inputs.to(self.device), targets.to(self.device)
        with self._autocast():
            edited = self.network(inputs).float()
        error = (edited - targets).abs().mean()
        loss = error
        if self._judge is not None:
            self._train_judge(inputs, targets, edited.detach())
            with self._autocast():
                judged = self._judge(inputs, edited)
            loss = network_loss(self.settings.gan, judged, error, l1_weight=self.settings.l1_weight)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        value, total = error.item(), loss.item()
        if not math.isfinite(total):
            raise TrainingDiverged(f"the loss is {total} at step {self.n_done}")
        self._optimizer.step()
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
        parts |= _optimizer_state("optimizer", self._optimizer)
        if self._judge is not None:
            parts |= {f"discriminator.{name}": value for name, value in self._judge.state_dict().items()}
            parts |= _optimizer_state("discriminator_optimizer", self._judge_optimizer)
        if self._mean is not None:
            parts |= {f"mean.{name}": value for name, value in self._mean.state_dict().items()}
        return {name: value.detach().cpu().contiguous().clone() for name, value in parts.items()}

    def load_state(self, parts: Mapping[str, Tensor], *, n_done: int) -> None:
        """Restore the output of `state` after `n_done` steps.

        Raises:
            KeyError, RuntimeError: the state is that of another training.
        """
        self.network.load_state_dict(_below("network.", parts))
        _load_optimizer("optimizer", self._optimizer, parts)
        if self._judge is not None:
            self._judge.load_state_dict(_below("discriminator.", parts))
            _load_optimizer("discriminator_optimizer", self._judge_optimizer, parts)
        if self._mean is not None:
            self._mean.load_state_dict(_below("mean.", parts))
        self.n_done = n_done

    def _set_rates(self) -> None:
        factor = rate_at(self.n_done, self.settings)
        self._optimizer.param_groups[0]["lr"] = self.settings.learning_rate * factor
        if self._judge is not None:
            self._judge_optimizer.param_groups[0]["lr"] = self.settings.discriminator_rate * factor

    def _train_judge(self, inputs: Tensor, targets: Tensor, edited: Tensor) -> None:
        assert self._judge is not None
        self._judge.requires_grad_(True)
        with self._autocast():
            real, made = self._judge(inputs, targets), self._judge(inputs, edited)
        loss = discriminator_loss(self.settings.gan, real, made)
        self._judge_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._judge_optimizer.step()
        self._judge.requires_grad_(False)  # the network's step needs gradients through it, not of it

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


def _adam(parameters: list[nn.Parameter], rate: float, betas: tuple[float, float]) -> torch.optim.Adam:
    # Fused: a step of a U-Net with 7 million weights takes a fifth less time on a CPU.
    return torch.optim.Adam(parameters, lr=rate, betas=betas, fused=True)


def _optimizer_state(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    states = optimizer.state_dict()["state"]
    return {f"{prefix}.{place}.{name}": value for place, own in states.items() for name, value in own.items()}


def _load_optimizer(prefix: str, optimizer: torch.optim.Optimizer, parts: Mapping[str, Tensor]) -> None:
    values = optimizer.state_dict()
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in _below(f"{prefix}.", parts).items():
        place, _, name = key.partition(".")
        states.setdefault(int(place), {})[name] = value
    optimizer.load_state_dict(values | {"state": states})


def _below(prefix: str, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in parts.items() if name.startswith(prefix)}
