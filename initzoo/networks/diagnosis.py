"""Diagnosis of an initialization: do signals and gradients pass, and do units differ?"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from initzoo.networks.network import ImageNetwork, layers_of

__all__ = ["VERDICTS", "Diagnosis", "LayerReport", "diagnose_network"]

VERDICTS = ("symmetric", "exploding", "vanishing", "dead", "saturated", "healthy")
"""The possible verdicts on a layer or a network, worst first."""

LARGEST = 1e4
"""Scales from 1 / LARGEST to LARGEST are healthy: measured starts in this range trained about equally
well under Adam, which divides each gradient by its own size."""

_MOST = 0.5
"""A layer gets a verdict if at least this share of its units or values has the problem."""

_MOST_FLAT = 0.75
"""The same for values in the flat part: trained layers that fine-tune well have up to 62% of them there."""

_STEP, _N_STEPS = 1e-3, 3
"""Size and number of the steps before scales are measured; they resemble the first steps of Adam."""

_FLAT = -5.0
"""Inputs of a SiLU below this are saturated: its slope is under 0.03."""

_STILL = 1e-3
"""A unit is dead if its output varies by less than this share of its layer's input."""

_SAME = 1e-4
_ENDS = ("end", "photo")
"""Roles of layers whose output is only clipped to black and white."""

_ASIDE = ("photo", "branch")
"""Roles of layers around which the signal also passes: they may be dead in a network that trains well."""

_NO_ACTIVATION = ("residual", "linear")
"""Roles of layers whose output is passed on as it is."""


@dataclass(frozen=True)
class LayerReport:
    """Figures of one layer after a few steps of training.

    Args:
        name: name of the layer.
        forward: root mean square of its output, relative to that of the photos.
        backward: norm of the gradient at its output, relative to that at the network's output.
        dead: share of units whose output hardly varies over photos and positions.
        saturated: share of outputs in the flat part of the following SiLU, or beyond black and white.
        duplicated: share of units with a twin of the same weights and gradient. Training cannot tell
            twins apart, so they stay twins.
        verdict: one of `VERDICTS`.
    """

    name: str
    forward: float
    backward: float
    dead: float
    saturated: float
    duplicated: float
    verdict: str


@dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of a network before training.

    Args:
        verdict: one of `VERDICTS`.
        reason: the figure behind the verdict, in words.
        layers: reports of the layers, in the order of the forward pass.
    """

    verdict: str
    reason: str
    layers: tuple[LayerReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis as JSON values; NaN and infinity become None."""
        layers = [
            {
                name: value if isinstance(value, str) or math.isfinite(value) else None
                for name, value in asdict(layer).items()
            }
            for layer in self.layers
        ]
        return {"verdict": self.verdict, "reason": self.reason, "layers": layers}


def diagnose_network(network: ImageNetwork, images: Tensor, *, seed: int = 0) -> Diagnosis:
    """Pass photos forward and a random gradient backward, and measure every layer.

    The gradient at the output has random signs, like that of a mean absolute error up to a factor. Scales
    are measured on a copy after a few sign-gradient steps, since many good starts have layers of zeros,
    which pass no gradient at first. Twins are counted before these steps.

    Args:
        network: the network, on the CPU.
        images: photos, shape `(n, 3, height, width)`, values -1 to 1.
        seed: seed of the gradient.

    Source:
        Scales of activations and gradients by layer: Glorot and Bengio (2010), section 4.

    Example:
        >>> from initzoo.networks.starter import StarterNet
        >>> network = StarterNet()
        >>> with torch.no_grad():
        ...     for parameter in network.parameters():
        ...         _ = parameter.zero_()
        >>> diagnose_network(network, torch.rand(1, 3, 32, 32)).verdict
        'symmetric'
    """
    network = copy.deepcopy(network).requires_grad_(True)
    seen, _ = _pass_through(network, images, seed)
    twins = {name: _duplicated(layer) for name, (layer, _, _) in seen.items()}
    for step in range(_N_STEPS):
        _step_along_signs(network)
        seen, edited = _pass_through(network, images, seed + step + 1)
    scale = _rms(images)
    layers = []
    for name, (layer, given, made) in seen.items():
        assert made.grad is not None
        forward, backward = _rms(made) / scale, float(made.grad.norm()) / edited.numel() ** 0.5
        role = network.roles.get(name, "")
        saturated = _saturated(role, edited if role in _ENDS else made)
        units = made.movedim(-1, 1) if isinstance(layer, nn.Linear) else made  # theirs come last
        dead, duplicated = _dead(role, given, units), twins[name]
        verdict = _judge(forward, backward, dead, saturated, duplicated)
        layers.append(LayerReport(name, forward, backward, dead, saturated, duplicated, verdict))
    return _conclude(layers, network.roles)


@torch.no_grad()
def _step_along_signs(network: nn.Module) -> None:
    for parameter in network.parameters():
        assert parameter.grad is not None
        parameter.sub_(_STEP * parameter.grad.sign())


Seen = dict[str, tuple[nn.Module, Tensor, Tensor]]


def _pass_through(network: ImageNetwork, images: Tensor, seed: int) -> tuple[Seen, Tensor]:
    """Each layer with its input and its output, which has its gradient; and the edited images."""
    seen: Seen = {}
    hooks = []
    for name, layer in layers_of(network).items():

        def keep(layer: nn.Module, given: tuple[Tensor], made: Tensor, name: str = name) -> None:
            made.retain_grad()
            seen[name] = (layer, given[0].detach(), made)

        hooks.append(layer.register_forward_hook(keep))
    signs = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    network.zero_grad(set_to_none=True)
    edited = network(images)
    edited.backward(signs.float() * 2 - 1)
    for hook in hooks:
        hook.remove()
    return {name: seen[name] for name in layers_of(network) if name in seen}, edited.detach()


def _rms(values: Tensor) -> float:
    return float(values.detach().double().square().mean().sqrt())


def _saturated(role: str, values: Tensor) -> float:
    """Share of values in the flat part of the activation; 0 for a layer without one."""
    if role in _NO_ACTIVATION:
        return 0.0
    flat = values.abs() > 1 if role in _ENDS else values < _FLAT
    return float(flat.float().mean())


def _dead(role: str, given: Tensor, made: Tensor) -> float:
    after = made.detach() if role in (*_NO_ACTIVATION, *_ENDS) else nn.functional.silu(made.detach())
    values = after.movedim(1, 0).flatten(1)
    if values.shape[1] < 2:
        return 0.0  # one photo at one pixel: nothing to compare
    spread = values.std(dim=1)
    return float((spread <= _STILL * _rms(given)).float().mean())


def _duplicated(layer: nn.Module) -> float:
    """Share of units with the same weights and gradients as another unit."""
    parts = []
    for parameter in layer.parameters():
        for values in (parameter.detach(), parameter.grad):
            assert values is not None
            rows = values.flatten(1) if values.ndim > 1 else values[:, None]
            size = float(rows.norm(dim=1).max())
            parts.append(rows / size if size > 0 else rows)
    units = torch.cat(parts, dim=1)
    # Exact distances: the fast formula by matmul cannot tell equal rows from close ones.
    apart = torch.cdist(units, units, compute_mode="donot_use_mm_for_euclid_dist")
    apart.fill_diagonal_(float("inf"))
    return float((apart.min(dim=1).values < _SAME).float().mean())


def _judge(forward: float, backward: float, dead: float, saturated: float, duplicated: float) -> str:
    findings = {
        "symmetric": duplicated >= _MOST,
        "exploding": not max(forward, backward) <= LARGEST,  # true for NaN, too
        "vanishing": min(forward, backward) < 1 / LARGEST,
        "dead": dead >= _MOST,
        "saturated": saturated >= _MOST_FLAT,
    }
    return next((verdict for verdict, is_found in findings.items() if is_found), "healthy")


def _conclude(layers: Sequence[LayerReport], roles: Mapping[str, str]) -> Diagnosis:
    """The worst verdict on any layer, except layers that the signal also passes around.

    They are those from the photo directly to the output, and those inside of a residual branch.
    """
    inner = [layer for layer in layers if roles.get(layer.name) not in _ASIDE]
    verdicts = {layer.verdict for layer in inner} | {"healthy"}
    verdict = next(name for name in VERDICTS if name in verdicts)
    concerned = [layer for layer in inner if layer.verdict == verdict]
    return Diagnosis(verdict, _REASONS[verdict](concerned), tuple(layers))


def _furthest(layers: Sequence[LayerReport], *, up: bool) -> str:
    """The layer with the most extreme scale, in words."""
    scales = [
        (value, f"the {what} in layer '{layer.name}' has {value:.2g} times the scale of {of}")
        for layer in layers
        for value, what, of in (
            (layer.forward, "signal", "the photos"),
            (layer.backward, "gradient", "that at the output"),
        )
    ]
    return (max(scales) if up else min(scales))[1]


def _shared(layers: Sequence[LayerReport], share: str, what: str) -> str:
    worst = max(layers, key=lambda layer: float(getattr(layer, share)))
    names = f"{len(layers)} layers, e.g." if len(layers) > 1 else "layer"
    return f"{getattr(worst, share):.0%} of the {what} in {names} '{worst.name}'"


_REASONS: dict[str, Callable[[Sequence[LayerReport]], str]] = {
    "symmetric": lambda layers: _shared(layers, "duplicated", "units have a twin that learns alike"),
    "exploding": lambda layers: _furthest(layers, up=True),
    "vanishing": lambda layers: _furthest(layers, up=False),
    "dead": lambda layers: _shared(layers, "dead", "units say the same of every photo"),
    "saturated": lambda layers: _shared(layers, "saturated", "outputs are where a change changes nothing"),
    "healthy": lambda layers: (
        f"signals stay between {min(layer.forward for layer in layers):.2g} and "
        f"{max(layer.forward for layer in layers):.2g} of the photos' scale, gradients between "
        f"{min(layer.backward for layer in layers):.2g} and {max(layer.backward for layer in layers):.2g} "
        "of that at the output"
    ),
}
