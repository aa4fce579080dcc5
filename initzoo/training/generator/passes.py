"""The loss of a denoiser of pairs: the error of the images that each of its passes makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from initzoo.generator import PASS_PAIRS, Context, PairDenoiser, PairView, behaviour_error, pass_gradient
from initzoo.networks import Adapted
from initzoo.training.generator.loop import rate_at
from initzoo.training.generator.objectives import BehaviourObjective
from initzoo.training.generator.resident import ResidentDraws, ResidentPart, ResidentStage
from initzoo.training.generator.settings import GeneratorSettings
from initzoo.training.lanes import Snapshots

__all__ = ["PassesObjective", "stage_of_passes"]

N_ASKED = 2
"""Crops of a concept by which passes are judged, besides those that they see."""

_LARGE_SIDE, _LARGE_SHARE = 64, 0.1
"""Side of the parts of crops, in pixels, that the last steps see, and the share of these steps."""

_NO_WORDS = 0.5
"""Share of the rows that see no words."""

_FROM_MEAN, _FROM_WORDS, _FROM_WRONG_WORDS = 0.3, 0.35, 0.15
"""Shares of the rows that start from the mean, from what the words give, and from what those of another
concept give; the rest starts from the checkpoint of another concept."""


@dataclass(frozen=True, eq=False)
class PassesObjective:
    """The loss of all passes.

    Each pass is trained for itself: its result is what the next one starts from, without a gradient.

    Args:
        base: the base of the adapters, frozen.
        to_adapters: converts residuals to flat adapters, shape `(batch, n_values)`.
        from_words: the weight generator's residuals for contexts, from pure noise.
    """

    base: Adapted
    to_adapters: Callable[[Tensor], Tensor]
    from_words: Callable[[Context], Tensor]

    def loss(self, denoiser: Any, part: ResidentPart) -> Tensor:
        """The mean error of all passes on crops that they did not see."""
        assert part.crops is not None
        batch, device = len(part.concepts), part.clean.device
        images = part.crops.view(batch, PASS_PAIRS + N_ASKED, *part.crops.shape[1:]).float() / 127.5 - 1
        shown, asked = images[:, :PASS_PAIRS], images[:, PASS_PAIRS:].flatten(0, 1)
        n_shown = torch.randint(1, PASS_PAIRS + 1, (batch, 1), device=device)
        mask = torch.arange(PASS_PAIRS, device=device) < n_shown
        residuals = self._starts(part)
        context = part.context
        has_words = torch.rand(batch, 1, device=device) >= _NO_WORDS
        tokens, bias = denoiser.read(shown, mask, replace(context, mask=context.mask & has_words))
        total = torch.zeros((), device=device)
        n_passes = denoiser.n_passes
        for number in range(n_passes):
            gradient, loss = pass_gradient(self.base, self.to_adapters, residuals, shown, mask)
            residuals = denoiser(residuals, PairView(gradient, loss, tokens, bias), number)
            edited = self.base(asked[:, 0], self.to_adapters(residuals))
            total = total + behaviour_error(edited, asked[:, 1], batch) / n_passes
            residuals = residuals.detach()
        return total

    @torch.no_grad()
    def _starts(self, part: ResidentPart) -> Tensor:
        """What each row starts from."""
        made = self.from_words(part.context).float()
        draw = torch.rand(len(made), 1, 1, device=made.device)
        wrong, other = made.roll(1, dims=0), part.clean.roll(1, dims=0)
        shares = (_FROM_MEAN, _FROM_MEAN + _FROM_WORDS, _FROM_MEAN + _FROM_WORDS + _FROM_WRONG_WORDS)
        late = torch.where(draw < shares[2], wrong, other)
        return torch.where(
            draw < shares[0], torch.zeros_like(made), torch.where(draw < shares[1], made, late)
        )


def stage_of_passes(
    settings: GeneratorSettings,
    objective: BehaviourObjective,
    draws: ResidentDraws,
    *,
    folder: Path,
    words: nn.Module,
    denoiser: PairDenoiser,
) -> ResidentStage:
    """The stage that teaches passes.

    Args:
        settings: settings of the training.
        objective: of the second stage, on the device, for its base and its crops.
        draws: its draws.
        folder: folder of the snapshots.
        words: the trained denoiser of words, frozen, on the device.
        denoiser: the denoiser of pairs, on the device.
    """
    stage = settings.pairs
    ours = replace(settings, n_crops=PASS_PAIRS + N_ASKED)
    n_large = int(_LARGE_SHARE * stage.n_steps)

    def from_words(context: Context) -> Tensor:
        count, blocks = len(context.mask), (denoiser.shape.n_blocks, denoiser.shape.block_size)
        noise = torch.randn(count, *blocks, device=context.mask.device)
        made: Tensor = words(noise, torch.ones(count, device=noise.device), context)
        return made

    return ResidentStage(
        settings=ours,
        stage=stage,
        snapshots=Snapshots(folder / "snapshots"),
        denoiser=denoiser,
        draws=draws.for_stage(stage, ours),
        loss=PassesObjective(objective.base, objective.to_adapters, from_words).loss,
        rate_at=partial(rate_at, stage=stage),
        side_at=lambda step: _LARGE_SIDE if step >= stage.n_steps - n_large else ours.crop_size,
    )
