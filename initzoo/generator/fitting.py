"""Fits weights to example pairs: candidates compete in a few steps each, and the best gets the most steps.

The loss of a candidate before any step misleads, so candidates are halved as they train (successive
halving). They take natural-gradient steps, which need no rate, in the coordinates of the adapter, which are
whitened. The best one goes on with Adam in these coordinates and, beside it, with SOAP on all other weights.

All work is counted in advance with a cost table and never timed, so that equal pairs and seeds give equal
weights on any machine that adds numbers alike.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from initzoo.checkpoints import Fitting, to_psnr
from initzoo.generator.passes import PASS_CROP, PASS_PAIRS, PairPasses
from initzoo.generator.request import check_seconds
from initzoo.networks import Adam, Adapted, GradientClip, NaturalGradient, Soap
from initzoo.pairs import (
    Pair,
    digest_examples,
    note_on_rest,
    notes_on_examples,
    prepare_examples,
    split_pairs,
)
from initzoo.work import one_thread

__all__ = [
    "Candidate",
    "Fit",
    "fit_pairs",
    "macs_per_pixel",
    "pairs_to_train",
    "refine",
    "seconds_of_steps",
]

Pixels = NDArray[np.uint8]

MACS_PER_SECOND = 25e9
"""Multiplications and additions that one core is taken to do in a second, in a convolution."""

CALL_SECONDS = 2e-3
"""What a forward pass is taken to cost beside them."""

FORWARD, GROUPED, GRADIENT, GRADIENT_OF_ALL, NATURAL = 1.0, 1.2, 2.5, 3.0, 8.0
"""Costs in forward passes: of a loss, of losses of several adapters at once, of a step of Adam on an adapter,
of one on all weights, and of a natural-gradient step with its tries."""

_CROP, _CROP_OF_ALL, _SCREEN_CROP, _HELD_CROP = 40, 32, 32, 96
"""Sides of the crops for steps on an adapter, for steps on all weights, of which more are better than larger
ones, for the first loss of all candidates, and for losses on pairs held back."""

_N_CROPS, _N_SCREEN_CROPS, _N_HELD_CROPS = 8, 4, 8
"""Numbers of these crops; those for steps grow with the work."""

_MOST_CROPS = 32

_GRID = 8
"""Crops begin at multiples of this many pixels, so that a pattern of that period has one phase in all."""

_MAX_HELD_BACK = 8

_HALVING_SHARE = 0.15
"""Share of the work for the steps of candidates that compete."""

_MOST_CHECKED, _CHECKED_CROP = 16, 64
"""Pairs of which one crop each is looked at after the fit, and its side, pixels."""

_SWAPPED = 0.7
"""Error of words on swapped pairs, in units of that on the pairs as given, below which they look swapped."""

_GROUP = 16
"""Candidates whose first losses are computed at once."""

_MUCH_FARTHER = 4.0
"""Loss of the best candidate from the words, in units of the best other one, above which they do not fit."""

_FOUND = 0.25
"""Loss of a candidate from the words, in units of the base's, below which no others are looked at."""

_N_BRANCHES = 3
"""Candidates whose kin is looked at, too."""

_MOST_RIVALS, _MOST_WHOLE = 16, 2
"""Candidates that compete at most, and fully trained checkpoints beside them."""

_MOST_REFINED = 2
"""Candidates that the weight generator's passes refine."""

_MOST_SECONDS_OF_PASSES = 0.4
"""Work from which on they are left out: in half a second, the steps that they cost bring more."""

_MIXED = 8
"""Candidates whose span is searched for a mix of them."""

_RIDGE = 0.03
"""Ridge of the mix, in units of the mean square of a candidate's effect."""

_STEPS_PER_DRAW = 30
"""Steps of an adapter alone on the same crops before others are drawn: few crops that change in every step
spoil a good start. All weights want others in each step, as they would learn the few by heart."""

_BETAS, _BETAS_OF_WEIGHTS = (0.65, 0.95), (0.7, 0.95)
"""Shorter memories than usual, since a fit has some forty steps in which gradients shrink fast."""

_RATE, _HIGHEST_RATE, _LOWEST_RATE = 7e-3, 16e-3, 2e-3
"""Rate of Adam at a loss of 16 dB and rank 8, and its bounds."""

_FEW_STEPS = 20
"""The rate of SOAP for fewer steps is that for so many."""

_PLAIN_SHARE = 0.1
"""Rate of Adam where it takes the place of SOAP, in units of SOAP's."""

_LEAST_STEPS_TO_JUDGE = 8
"""Steps of a fit from which on what is left of the change says something of the pairs."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An adapter that a fit may begin with.

    Args:
        name: what it is, e.g. `base` or `checkpoint sepia`.
        adapter: float32, shape `(n_values,)`.
        is_from_words: whether it comes from the words. The best such candidate takes steps for sure if it is
            the best of all before any.
        detail: what a fully trained checkpoint has beyond base and adapter, by name; None for an adapter.
        kin: returns candidates that resemble it; called if it is among the best.
        whole: returns the same checkpoint with its detail; called if it is among the best. None without one.
        licence: licence of the weights, if it is not that of the base.
        draw_of: what it is one of several draws of, e.g. the words; empty for something of its own.
    """

    name: str
    adapter: Tensor
    is_from_words: bool = False
    detail: Mapping[str, NDArray[np.float32]] | None = None
    kin: Callable[[], Sequence[Candidate]] | None = None
    whole: Callable[[], Candidate] | None = None
    licence: str = ""
    draw_of: str = ""


@dataclass(frozen=True, eq=False)
class Fit:
    """The result of a fit.

    Args:
        adapter: float32, shape `(n_values,)`.
        detail: what the result has beyond base and adapter, by name; None for an adapter.
        candidate: the candidate that the steps began from.
        fitting: how it was fitted, and how well.
    """

    adapter: Tensor
    detail: Mapping[str, NDArray[np.float32]] | None
    candidate: Candidate
    fitting: Fitting


def macs_per_pixel(network: nn.Module, *, side: int = 64) -> float:
    """Multiplications and additions that a network needs for a pixel, on images of one size.

    Example:
        >>> macs_per_pixel(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1)))
        240.0
    """
    macs = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        weight = layer.get_parameter("weight")
        macs_of_layer = weight.numel() * made.numel() // weight.shape[0]
        nonlocal macs
        macs += macs_of_layer

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    return macs / side**2


def seconds_of_steps(network: nn.Module, *, n_steps: int, n_images: int, side: int) -> float:
    """Seconds of one core that steps of Adam on all weights of a network are taken to cost.

    Args:
        network: the network.
        n_steps: number of steps.
        n_images: number of images of a step.
        side: side of an image, pixels.

    Example:
        >>> 1.0 < seconds_of_steps(nn.Conv2d(3, 3, 3), n_steps=200, n_images=4, side=64) < 1.2
        True
    """
    return n_steps * _cost(macs_per_pixel(network), GRADIENT, n_images, side)


def _cost(macs: float, passes: float, n_images: int, side: int) -> float:
    return passes * (n_images * side**2 * macs / MACS_PER_SECOND + CALL_SECONDS)


@dataclass
class _Account:
    """Work that is left, in seconds of one core as the cost table counts them."""

    whole: float
    macs_per_pixel: float
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.whole

    def cost(self, passes: float, n_images: int, side: int) -> float:
        """Seconds of some forward passes over a batch."""
        return _cost(self.macs_per_pixel, passes, n_images, side)

    def pay(self, passes: float, n_images: int, side: int) -> None:
        """Take work off the account, which may be overdrawn."""
        self.left -= self.cost(passes, n_images, side)


@dataclass(frozen=True, eq=False)
class _Crops:
    """Crops of pairs, values -1 to 1, shape `(n, 3, side, side)` each."""

    inputs: Tensor
    targets: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Number and side."""
        return len(self.inputs), self.inputs.shape[-1]

    def halves(self) -> tuple[_Crops, _Crops]:
        """Every second crop, and the others."""
        one, other = (_Crops(self.inputs[start::2], self.targets[start::2]) for start in (0, 1))
        return one, other


@dataclass
class _Rival:
    """A candidate in training."""

    candidate: Candidate
    base: Adapted
    adapter: Tensor
    natural: NaturalGradient
    loss: float = math.inf
    n_steps: int = field(default=0)


def fit_pairs(
    base: Adapted,
    candidates: Sequence[Candidate],
    pairs: Sequence[Pair],
    *,
    passes: Callable[[], PairPasses | None] | None = None,
    seed: int = 0,
    seconds: float = 1.0,
    adapter_only: bool = False,
) -> Fit:
    """Fit weights to example pairs.

    About one pair in five is held back to measure the result on; of a single pair, a part. What does best
    there is returned: the candidate as it was, after its natural-gradient steps, or after all steps.

    Args:
        base: the base of all candidates, on the CPU, without gradients; not changed.
        candidates: what to begin with, at least one. The first, which should be the base, always takes steps.
        pairs: example pairs, at least one.
        passes: loads the weight generator's passes over pairs, if it has any. In 0.4 seconds or less they
            refine the best candidates before any step; else they are not loaded.
        seed: draws the crops.
        seconds: work, in seconds of one core as the cost table counts them. The first losses and one step
            are taken in any case.
        adapter_only: train the adapter alone, and no other weights.

    Raises:
        InvalidPairs: there are no pairs, the sides of one have different sizes or are too small, or before
            and after are the same in all of them.
        TypeError, ValueError: a pair is not a `Pair` of uint8 RGB images, or seconds are out of range.

    Example:
        >>> from initzoo.networks.starter import StarterNet
        >>> base = Adapted(StarterNet(), {"detail": 4, "skip": 8}, generator=torch.Generator().manual_seed(0))
        >>> photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        >>> start = Candidate("base", torch.zeros(base.n_adapter_values))
        >>> fitting = fit_pairs(base.requires_grad_(False), [start], [Pair("a", photo, 255 - photo)]).fitting
        >>> fitting.start, fitting.loss_after < 0.9 * fitting.loss_before
        ('base', True)
    """
    seconds = check_seconds(seconds)
    examples = prepare_examples(pairs)
    network = base.network
    multiple = getattr(network, "multiple", 1)
    train, held_back = _divide(examples, multiple)
    with one_thread():
        account = _Account(seconds, macs_per_pixel(network, side=_rounded(64, multiple)))
        run = _Run(base, train, held_back, account, seed, multiple, passes, adapter_only)
        return run.fit(candidates, examples, seconds)


def refine(
    base: Adapted, adapter: Tensor, pairs: Sequence[Pair], passes: PairPasses, *, seed: int = 0
) -> Tensor:
    """Refine one adapter by the weight generator's passes over example pairs, and take no steps.

    Args:
        base: the base of the adapter, on the CPU, without gradients.
        adapter: to start from, shape `(n_values,)`.
        pairs: example pairs, at least one.
        passes: the passes.
        seed: draws the crops.

    Raises:
        InvalidPairs, TypeError: as for `fit_pairs`.
    """
    multiple = getattr(base.network, "multiple", 1)
    with one_thread():
        crops = _draw_crops(prepare_examples(pairs), PASS_PAIRS, PASS_CROP, seed=[seed, 5], multiple=multiple)
        refined: Tensor = passes(base, adapter[None], crops.inputs, crops.targets)[0]
    return refined


@dataclass
class _Run:
    """One fit."""

    base: Adapted
    train: Sequence[Pair]
    held_back: Sequence[Pair]
    account: _Account
    seed: int
    multiple: int
    passes: Callable[[], PairPasses | None] | None = None
    adapter_only: bool = False
    words_fit: bool = field(default=True, init=False)

    def fit(self, candidates: Sequence[Candidate], examples: Sequence[Pair], seconds: float) -> Fit:
        held = self._crops(self.held_back, _N_HELD_CROPS, _HELD_CROP, draw=0)
        crops = self._crops(self.train, self._n_crops(), _CROP, draw=1)
        best, n_candidates = self._search(candidates)
        rivals = [self._rival(candidate) for candidate in best]
        winner = self._halve(rivals, crops)
        start = replace(winner, adapter=winner.candidate.adapter, n_steps=0)
        natural = replace(winner)
        before, after_natural = (self._loss(one.base, one.adapter, held) for one in (start, natural))
        self.account.pay(FORWARD, *held.size)  # of the loss after
        self._train(winner)
        after, n_tried = self._loss(winner.base, winner.adapter, held), winner.n_steps
        # Whatever is best on pairs that no step saw. A loss that is NaN is not below any other.
        for earlier, loss in ((natural, after_natural), (start, before)):
            if not after < loss:
                winner, after = earlier, loss
        untouched = float((held.inputs - held.targets).square().mean()) / 4
        is_whole = len(examples) > 1
        fitting = Fitting(
            start=winner.candidate.name,
            n_candidates=n_candidates,
            seed=self.seed,
            seconds=seconds,
            n_steps=winner.n_steps,
            n_pairs=len(self.train),
            n_held_back=len(self.held_back) if is_whole else 0,
            loss_untouched=_rounded_loss(untouched),
            loss_before=_rounded_loss(before),
            loss_after=_rounded_loss(after),
            pairs_sha256=digest_examples(examples),
            notes=self._notes(winner, n_tried, examples, candidates, untouched, after),
        )
        detail = winner.candidate.detail if winner.base is start.base else self._detail(winner.base)
        return Fit(winner.adapter, detail, winner.candidate, fitting)

    def _search(self, candidates: Sequence[Candidate]) -> tuple[list[Candidate], int]:
        """The candidates to compare after steps, and the number of all that were looked at."""
        crops = self._crops(self.train, _N_SCREEN_CROPS, _SCREEN_CROP, draw=2)
        tree = [one for one in candidates[1:] if one.kin is not None and not one.is_from_words]
        known = self._screen([one for one in candidates if one not in tree], crops)
        if not self._is_found(known):
            known += self._screen(tree, crops)
        self.words_fit = self._do_words_fit(known)
        order = sorted(known, key=lambda one: one[1])
        kin: list[Candidate] = []
        names = {candidate.name for candidate in candidates}
        for candidate, _, _ in [one for one in order if one[0].kin is not None][:_N_BRANCHES]:
            assert candidate.kin is not None
            kin += [one for one in candidate.kin() if one.name not in names]
            names |= {one.name for one in kin}
        known += self._screen(kin, crops)
        order = sorted(known, key=lambda one: one[1])
        ranked = [candidate for candidate, _, _ in order]
        mixed = self._mix(order, crops)
        # What words give has steps for sure where nothing is nearer before any. Elsewhere they may be wrong.
        from_words = [one for one in ranked[:1] if one.is_from_words]
        # The base knows nothing that could be wrong beyond the pairs, unless something is much nearer.
        is_near = order[0][1] < _FOUND * known[0][1]
        first = list(dict.fromkeys([*([] if is_near else candidates[:1]), *from_words, *mixed]))
        chosen = [*first, *(one for one in ranked if one not in first)][: max(len(first), self._n_rivals())]
        # Checkpoints that the words name or the pairs show take part with their details.
        named = [one for one in candidates if one.is_from_words and one.whole is not None][:_MOST_WHOLE]
        likely = dict.fromkeys([*named, *chosen, *(ranked[:_MOST_WHOLE] if is_near else ())])
        whole = self._with_details(likely, [] if from_words else named, order[0][1], crops)
        refined = self._refine([*from_words, *mixed, *ranked], crops)
        n_looked_at = len(known) + len(mixed) + len(refined) + len(whole)
        return [*(refined.get(one.name, one) for one in chosen), *whole], n_looked_at

    def _with_details(
        self, likely: Iterable[Candidate], doubtful: Sequence[Candidate], lowest: float, crops: _Crops
    ) -> list[Candidate]:
        """Candidates with their details; doubtful ones only if these make them nearer than all others."""
        whole: list[Candidate] = []
        for one in likely:
            if one.whole is None or len(whole) == _MOST_WHOLE:
                continue
            made = one.whole()
            if one not in doubtful or self._first_loss(made, crops) < lowest:
                whole.append(made)
        return whole

    def _first_loss(self, candidate: Candidate, crops: _Crops) -> float:
        """The loss of a candidate with a detail before any step, as `_screen` measures it."""
        assert candidate.detail is not None
        with torch.no_grad():
            edited = _with_detail(self.base, candidate.detail)(crops.inputs, candidate.adapter).clamp(-1, 1)
        self.account.pay(FORWARD, *crops.size)
        return float((edited - crops.targets).abs().mean())

    def _do_words_fit(self, screened: Sequence[tuple[Candidate, float, Tensor]]) -> bool:
        """Whether something from the words is nearer to the afters than the base, and not much farther than
        what is there without them; True without words."""
        from_words = [loss for candidate, loss, _ in screened if candidate.is_from_words]
        others = [loss for candidate, loss, _ in screened if not candidate.is_from_words]
        return not from_words or min(from_words) < min(screened[0][1], _MUCH_FARTHER * min(others))

    def _is_found(self, screened: Sequence[tuple[Candidate, float, Tensor]]) -> bool:
        """Whether what the words give is so near that looking at checkpoints from all over costs more steps
        than it can bring."""
        untouched = screened[0][1]  # the loss of the base
        from_words = [loss for candidate, loss, _ in screened if candidate.is_from_words]
        return min(from_words, default=math.inf) < _FOUND * untouched

    def _n_crops(self) -> int:
        """Number of crops of a step of Adam; natural-gradient steps see half of them."""
        return min(_MOST_CROPS, max(_N_CROPS, round(_N_CROPS * math.sqrt(self.account.whole))))

    def _n_rivals(self) -> int:
        """Number of candidates for whose steps there is work: all take one, half of them two, and so on."""
        one = self.account.cost(NATURAL, self._n_crops() // 2, _CROP)
        return min(_MOST_RIVALS, max(2, int(_HALVING_SHARE * self.account.whole / (2 * one))))

    def _screen(
        self, candidates: Sequence[Candidate], crops: _Crops
    ) -> list[tuple[Candidate, float, Tensor]]:
        """Each candidate with its loss before any step, and its edited crops."""
        screened: list[tuple[Candidate, float, Tensor]] = []
        n_crops, side = crops.size
        for first in range(0, len(candidates), _GROUP):
            group = candidates[first : first + _GROUP]
            adapters = torch.stack([candidate.adapter for candidate in group])
            with torch.no_grad():
                edited = self.base(crops.inputs.repeat(len(group), 1, 1, 1), adapters).clamp(-1, 1)
            self.account.pay(GROUPED, len(group) * n_crops, side)
            for candidate, images in zip(group, edited.split(n_crops), strict=True):
                loss = float((images - crops.targets).abs().mean())
                screened.append((candidate, loss if math.isfinite(loss) else math.inf, images))
        return screened

    def _mix(self, order: Sequence[tuple[Candidate, float, Tensor]], crops: _Crops) -> list[Candidate]:
        """A linear combination of the best candidates, as if edits added up as adapters do."""
        different: list[tuple[Candidate, float, Tensor]] = []
        for one in order:
            candidate, loss, _ = one
            if len(different) > _MIXED or not math.isfinite(loss):
                break
            # Another draw of the same does nearly the same, and would take the place of another direction.
            if not candidate.draw_of or all(candidate.draw_of != other.draw_of for other, _, _ in different):
                different.append(one)
        if len(different) < 3:
            return []
        first, *others = different
        effects = torch.stack([(edited - first[2]).flatten() for _, _, edited in others]).double()
        wanted = (crops.targets - first[2]).flatten().double()
        products = effects @ effects.T
        ridge = _RIDGE * float(products.diagonal().mean()) + 1e-12
        shares = torch.linalg.solve(products + ridge * torch.eye(len(others)).double(), effects @ wanted)
        changes = torch.stack([candidate.adapter - first[0].adapter for candidate, _, _ in others])
        licences = {one.licence for one, _, _ in (first, *others)} - {""}
        adapter = first[0].adapter + shares.float() @ changes
        return [Candidate("mix of checkpoints", adapter, licence=" AND ".join(sorted(licences)))]

    def _refine(self, starts: Sequence[Candidate], screen: _Crops) -> dict[str, Candidate]:
        """What the weight generator's passes make of the first few candidates, by name, where it is better.

        A refined candidate takes the place of the one that it came from, so that no more compete.
        """
        if self.passes is None or self.account.whole > _MOST_SECONDS_OF_PASSES:
            return {}
        passes = self.passes()
        if passes is None:
            return {}
        chosen = [one for one in dict.fromkeys(starts) if bool(one.adapter.isfinite().all())][:_MOST_REFINED]
        crops = self._crops(self.train, PASS_PAIRS, PASS_CROP, draw=5)
        adapters = passes(
            self.base, torch.stack([one.adapter for one in chosen]), crops.inputs, crops.targets
        )
        n_crops, side = crops.size
        self.account.pay(GRADIENT * passes.n_passes, len(chosen) * n_crops, side)
        refined = [
            replace(
                one,
                name=f"{one.name}, refined",
                adapter=adapter,
                kin=None,
                whole=None,
                licence=" AND ".join(sorted({one.licence, passes.licence} - {""})),
            )
            for one, adapter in zip(chosen, adapters, strict=True)
        ]
        losses = [loss for _, loss, _ in self._screen([*chosen, *refined], screen)]
        before, after = losses[: len(chosen)], losses[len(chosen) :]
        found = zip(chosen, refined, before, after, strict=True)
        return {start.name: made for start, made, old, new in found if new < old}

    def _rival(self, candidate: Candidate) -> _Rival:
        base = self.base if candidate.detail is None else _with_detail(self.base, candidate.detail)
        return _Rival(candidate, base, candidate.adapter.clone(), NaturalGradient(base, seed=self.seed))

    def _halve(self, rivals: list[_Rival], crops: _Crops) -> _Rival:
        """Let rivals take steps, and half of them go after each."""
        taught, judged = crops.halves()
        while True:
            for rival in rivals:
                if not rival.n_steps:
                    rival.loss = self._loss(rival.base, rival.adapter, judged)
                adapter, _ = rival.natural.take(rival.adapter, taught.inputs, taught.targets)
                self.account.pay(NATURAL, *taught.size)
                rival.n_steps += 1
                # On other crops than the step saw, and of other pairs if there are several.
                loss = self._loss(rival.base, adapter, judged)
                if loss < rival.loss or not math.isfinite(rival.loss):
                    rival.adapter, rival.loss = adapter, loss if math.isfinite(loss) else math.inf
            rivals = sorted(rivals, key=lambda rival: rival.loss)[: max(1, len(rivals) // 2)]
            if len(rivals) == 1:
                return rivals[0]

    def _train(self, rival: _Rival) -> None:
        """Spend the work that is left on steps on the adapter and, if it is not alone, on all weights."""
        passes, side = (GRADIENT, _CROP) if self.adapter_only else (GRADIENT_OF_ALL, _CROP_OF_ALL)
        n_crops = self._n_crops()
        n_steps = int(self.account.left / self.account.cost(passes, n_crops, side))
        if n_steps < 1:
            return
        adapter = nn.Parameter(rival.adapter.clone())
        trained: list[tuple[Adam | Soap, float]] = [(Adam([adapter], betas=_BETAS), self._rate(rival))]
        if not self.adapter_only:
            rival.base = copy.deepcopy(rival.base)  # shared by all rivals
            weights = list(rival.base.network.requires_grad_(True).parameters())
            highest = self._rate_of_weights(rival, n_steps)
            if Soap.suits(weights):
                trained.append((Soap(weights, betas=_BETAS_OF_WEIGHTS), highest))
            else:
                trained.append((Adam(weights, betas=_BETAS_OF_WEIGHTS), _PLAIN_SHARE * highest))
            clip = GradientClip([adapter, *weights])
        steps_per_draw = _STEPS_PER_DRAW if self.adapter_only else 1
        for step in range(n_steps):
            if step % steps_per_draw == 0:
                crops = self._crops(self.train, n_crops, side, draw=10 + step if step else 1)
            loss = (rival.base(crops.inputs, adapter) - crops.targets).abs().mean()
            loss.backward()
            if not self.adapter_only:
                clip()
            for optimizer, rate in trained:
                optimizer.step(rate * min(1.0, 2 * (1 - step / n_steps)))
        rival.base.requires_grad_(False)
        rival.adapter = adapter.detach()
        rival.n_steps += n_steps

    def _detail(self, base: Adapted) -> dict[str, NDArray[np.float32]]:
        """What a network has beyond the base."""
        own = dict(self.base.network.named_parameters())
        return {
            name: (parameter.detach() - own[name].detach()).numpy()
            for name, parameter in base.network.named_parameters()
        }

    def _rate(self, rival: _Rival) -> float:
        """The rate of Adam: a good start wants small steps, and so does an adapter of high rank."""
        ranks = list(self.base.ranks.values())
        rate = _RATE * 10 ** ((16 - to_psnr(rival.loss)) / 30) * math.sqrt(8 / (sum(ranks) / len(ranks)))
        return min(_HIGHEST_RATE, max(_LOWEST_RATE, rate))

    def _rate_of_weights(self, rival: _Rival, n_steps: int) -> float:
        """The rate of SOAP: many steps can afford a high one, since it falls to zero at their end."""
        rate = Soap.RATE_PER_STEP * max(n_steps, _FEW_STEPS) * 10 ** ((16 - to_psnr(rival.loss)) / 30)
        return min(Soap.HIGHEST_RATE, rate)

    def _loss(self, base: Adapted, adapter: Tensor, crops: _Crops) -> float:
        """Mean squared error of values from 0 to 1, as edited photos have them."""
        with torch.no_grad():
            edited = base(crops.inputs, adapter).clamp(-1, 1)
        self.account.pay(FORWARD, *crops.size)
        return float((edited - crops.targets).square().mean()) / 4

    def _crops(self, pairs: Sequence[Pair], n_crops: int, side: int, *, draw: int) -> _Crops:
        return _draw_crops(pairs, n_crops, side, seed=[self.seed, draw], multiple=self.multiple)

    def _notes(
        self,
        winner: _Rival,
        n_tried: int,
        examples: Sequence[Pair],
        candidates: Sequence[Candidate],
        untouched: float,
        after: float,
    ) -> tuple[str, ...]:
        """What is odd about the pairs."""
        reach = getattr(self.base.network, "reach", 0)
        notes = list(notes_on_examples(examples, reach=reach))
        crops = self._crops(examples, _N_SCREEN_CROPS, _SCREEN_CROP, draw=3)
        from_words = [candidate for candidate in candidates if candidate.is_from_words]
        if self._are_swapped(from_words, crops):
            notes.append("before and after look swapped: the words fit them better the other way round")
        elif not self.words_fit:
            notes.append("the words do not fit them: what there is without the words is nearer to them")
        if len(examples) == 1:
            notes.append(
                "there is only one, so the result is measured on its own photo; others may come out worse"
            )
        if n_tried < _LEAST_STEPS_TO_JUDGE:  # what is left may be the fit's fault and not the pairs'
            return tuple(notes)
        if untouched and (rest := note_on_rest(after / untouched, after="fit")):
            notes.append(rest)
        checked = examples[:: math.ceil(len(examples) / _MOST_CHECKED)]
        worse = self._n_worse(winner, checked)
        if worse and len(checked) > 1:
            notes.append(
                f"they disagree: {worse} of {len(checked)} pairs are farther from their after than unedited"
            )
        return tuple(notes)

    def _are_swapped(self, from_words: Sequence[Candidate], crops: _Crops) -> bool:
        """Whether candidates from the words turn afters into befores much better than befores into afters."""
        if not from_words:
            return False
        turned = _Crops(crops.targets, crops.inputs)
        as_given, other_way = (
            min(loss for _, loss, _ in self._screen(from_words, one)) for one in (crops, turned)
        )
        untouched = float((crops.inputs - crops.targets).abs().mean())
        return other_way < _SWAPPED * min(as_given, untouched)

    def _n_worse(self, winner: _Rival, examples: Sequence[Pair]) -> int:
        """Number of pairs whose edited image is farther from the after than the before is."""
        crops = self._crops(examples, len(examples), _CHECKED_CROP, draw=4)
        with torch.no_grad():
            edited = winner.base(crops.inputs, winner.adapter).clamp(-1, 1)
        left, untouched = (
            (images - crops.targets).square().mean(dim=(1, 2, 3)) / 4 for images in (edited, crops.inputs)
        )
        # A pair without a change, and the last grey level, do not count.
        return int((left > (1.1 * untouched).clamp(min=2e-4)).sum())


def _draw_crops(
    pairs: Sequence[Pair], n_crops: int, side: int, *, seed: Sequence[int], multiple: int
) -> _Crops:
    """Draw crops of one size, spread evenly over the pairs."""
    rng = np.random.default_rng(seed)
    grid = math.lcm(_GRID, multiple)
    shortest = min(min(pair.given.shape[:2]) for pair in pairs)
    side = _rounded(min(side, max(shortest // multiple * multiple, _SCREEN_CROP)), multiple)
    crops = np.empty((2, n_crops, side, side, 3), np.uint8)
    for number in range(n_crops):
        pair = pairs[number * len(pairs) // n_crops if len(pairs) > n_crops else number % len(pairs)]
        height, width = pair.given.shape[:2]
        top, left = (
            grid * int(rng.integers(max(length - side, 0) // grid + 1)) for length in (height, width)
        )
        for image, crop in zip((pair.given, pair.wanted), crops[:, number], strict=True):
            crop[:] = _padded(image[top : top + side, left : left + side], side)
    images = torch.from_numpy(crops).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    return _Crops(images[0].contiguous(), images[1].contiguous())


def pairs_to_train(examples: Sequence[Pair], *, multiple: int = 1) -> list[Pair]:
    """The example pairs that a fit takes steps on, which says nothing of the others.

    Args:
        examples: all of them, as `prepare_examples` returns them.
        multiple: what sides of images are multiples of for the network.

    Example:
        >>> photo = np.zeros((64, 64, 3), np.uint8)
        >>> len(pairs_to_train([Pair(str(number), photo, photo) for number in range(8)]))
        6
    """
    return _divide(examples, multiple)[0]


def _divide(examples: Sequence[Pair], multiple: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs for steps, and pairs held back; of a single pair, three quarters of its length, and the rest."""
    if len(examples) > 1:
        # The choice goes by name, and names need neither differ nor matter here.
        named = [replace(pair, name=str(number)) for number, pair in enumerate(examples)]
        divided = split_pairs("example pairs", named)
        held_back = list(divided.validation)[:_MAX_HELD_BACK]
        return [*divided.train, *list(divided.validation)[_MAX_HELD_BACK:]], held_back
    (pair,) = examples
    axis = int(pair.given.shape[1] >= pair.given.shape[0])
    length = pair.given.shape[axis]
    grid = multiple if length < 8 * _GRID else math.lcm(_GRID, multiple)
    cut = min(max(length * 3 // 4 // grid * grid, 1), length - 1)
    parts = [np.split(image, [cut], axis=axis) for image in (pair.given, pair.wanted)]
    return [Pair(pair.name, parts[0][0], parts[1][0])], [Pair(pair.name, parts[0][1], parts[1][1])]


def _with_detail(base: Adapted, detail: Mapping[str, NDArray[np.float32]]) -> Adapted:
    """A copy of a base with a detail added to its network."""
    whole = copy.deepcopy(base)
    with torch.no_grad():
        for name, parameter in whole.network.named_parameters():
            parameter.add_(torch.from_numpy(np.array(detail[name])))
    return whole


def _padded(image: Pixels, side: int) -> Pixels:
    """A small image with its mirror image beyond it, as `edit` sees it."""
    missing = [(0, side - length) for length in image.shape[:2]]
    return np.pad(image, (*missing, (0, 0)), mode="symmetric") if any(map(any, missing)) else image


def _rounded(pixels: int, multiple: int) -> int:
    return multiple * math.ceil(pixels / multiple)


def _rounded_loss(loss: float) -> float:
    """Six digits: the others differ between machines."""
    return float(f"{loss:.6g}")
