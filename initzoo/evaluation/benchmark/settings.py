"""Settings of a benchmark: methods, schedules, and the learning rates to choose from."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from initzoo.errors import BenchmarkError
from initzoo.evaluation.bootstrap import Resampling
from initzoo.files import check_least
from initzoo.generator import FROM_ZOO
from initzoo.networks import CLASSICAL
from initzoo.pairs import PhotoSource
from initzoo.training import FinetuneSettings
from initzoo.work import Backend, Pool
from initzoo.zoo import STARTS

__all__ = [
    "BOOK",
    "FITTED",
    "METHODS",
    "OURS",
    "QUICK_BENCHMARK",
    "SCRATCH",
    "ZOO_STARTS",
    "BenchmarkSettings",
]

BOOK, SCRATCH, OURS, FITTED = "pix2pix_book", "scratch_best", "generated", "fitted"

ZOO_STARTS = (*FROM_ZOO, FITTED)
"""Starts that have a base, and are trained beside an adapter."""

METHODS = {name: label.meaning for name, label in STARTS.items()}
"""Descriptions of the methods, by name."""

_BY_DEFAULT = tuple(name for name in METHODS if name != "unet_l1")
_ON_UNET = (BOOK, "unet_l1")
_DECIDE_A_RUN = (
    "photos", "n_photos", "crop_size", "batch_size", "unet_width", "device", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class BenchmarkSettings:
    """Settings of a benchmark.

    Every schedule is a separate run whose learning rate decays to zero at its end. The rate of a method at
    a length is the one of the grid with the best mean on the tuning concepts, which are not measured.

    The zoo's network is trained by SOAP from every start. On two tuning concepts, over 160 steps from random
    weights, Adam reached 36 and 37 dB at its best rate, Muon 30 and 33, SOAP 44 and 43. The U-Net is trained
    by Adam as in the pix2pix paper: SOAP, at the best of three rates, gained 0.5 dB on oil in 160 steps and
    lost 4 to 7 in 20, and a step took six times as long. The rates of the U-Net are the one of that paper,
    and two that did better in few steps.

    Args:
        methods: names of the methods to compare.
        lengths: numbers of steps of the schedules, ascending from 0.
        rates: learning rates to choose from for the zoo's network.
        unet_rates: learning rates to choose from for the U-Net of pix2pix.
        classical: initializations that compete to be scratch_best.
        classical_lengths: lengths at which these compete; by default 20 and 160, or the longest if `lengths`
            has neither.
        n_concepts: number of concepts to measure on: held-out ones of the zoo, or your own.
        n_tuning: number of other held-out concepts to choose learning rates on.
        photos: photos of split `train` are varied for training, those of split `score` are scored.
        n_photos: number of varied photos to train on.
        crop_size: side of crops and of scored tiles: 32, 64, 128 or 256 pixels; 0 for 64 on a CPU, 256 on
            a GPU.
        batch_size: crops per step of the zoo's network; the U-Net takes 1.
        unet_width: filters of the first layers of the U-Net and its discriminator; 0 for 32 on a CPU and,
            as in the paper, 64 on a GPU.
        n_workers: number of processes, one core each; 0 for one per core, here or in the cluster, or 1 on a
            GPU.
        backend: where workers run: processes of this machine, or a ray cluster, with a GPU each for cuda.
        address: HOST:PORT of the Ray cluster; by default that of RAY_ADDRESS, or one that is started here.
        device: device to compute on; cuda runs at 256 pixels, like the pix2pix paper.
        seed: seed of weights, photos and crops.
        resampling: settings of the bootstrap intervals.

    Raises:
        BenchmarkError: a setting is out of range.

    Example:
        >>> BenchmarkSettings(crop_size=48)
        Traceback (most recent call last):
            ...
        initzoo.errors.BenchmarkError: crop_size must be 32, 64, 128 or 256, found 48.
    """

    methods: tuple[str, ...] = _BY_DEFAULT
    lengths: tuple[int, ...] = (0, 5, 10, 20, 40, 80, 160, 320, 640)
    rates: tuple[float, ...] = (5e-4, 1.5e-3, 4e-3, 1e-2, 2e-2)
    unet_rates: tuple[float, ...] = (2e-4, 2e-3, 6e-3)
    classical: tuple[str, ...] = tuple(CLASSICAL)
    classical_lengths: tuple[int, ...] = ()
    n_concepts: int = 24
    n_tuning: int = 6
    photos: PhotoSource = field(default_factory=PhotoSource)
    n_photos: int = 24
    crop_size: int = 0
    batch_size: int = 4
    unet_width: int = 0
    n_workers: int = 0
    backend: Backend = "processes"
    address: str | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    seed: int = 0
    resampling: Resampling = field(default_factory=Resampling)

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise BenchmarkError(f"device must be cpu or cuda, found {self.device!r}.")
        is_gpu = self.device == "cuda"
        if self.address is not None and self.backend != "ray":
            raise BenchmarkError("address goes with --backend ray. Add it, or leave out --address.")
        by_device = {
            "crop_size": 256 if is_gpu else 64,
            "unet_width": 64 if is_gpu else 32,
            "n_workers": 1 if is_gpu else 0,
        }
        for name, value in by_device.items():
            if getattr(self, name) == 0:
                object.__setattr__(self, name, value)
        if self.crop_size not in (32, 64, 128, 256):
            raise BenchmarkError(f"crop_size must be 32, 64, 128 or 256, found {self.crop_size}.")
        if self.lengths[:1] != (0,) or list(self.lengths) != sorted({*self.lengths}) or len(self.lengths) < 2:
            raise BenchmarkError(f"lengths must ascend from 0, found {', '.join(map(str, self.lengths))}.")
        if not self.classical_lengths:
            usual = tuple(n_steps for n_steps in (20, 160) if n_steps in self.lengths)
            object.__setattr__(self, "classical_lengths", usual or self.lengths[-1:])
        for name, known in (
            ("methods", METHODS),
            ("classical", CLASSICAL),
            ("classical_lengths", self.lengths[1:]),
        ):
            values = getattr(self, name)
            unknown = [value for value in values if value not in known]
            if unknown or not values:
                given, listed = unknown[0] if unknown else "none", ", ".join(map(str, known))
                raise BenchmarkError(f"{name}: {given} given. Choose from: {listed}")
        for name in ("rates", "unet_rates"):
            grid = getattr(self, name)
            if not grid or not all(0 < rate < math.inf for rate in grid):
                shown = ", ".join(f"{rate:g}" for rate in grid) or "none"
                raise BenchmarkError(f"{name} must be positive numbers, found {shown}.")
        counts = dict.fromkeys(("n_concepts", "n_tuning", "n_photos", "batch_size", "unet_width"), 1)
        check_least(self, error=BenchmarkError, **counts, n_workers=0, seed=0)

    def make_pool(self) -> Pool:
        """Make the pool of the runs; on Ray, workers of the device cuda get a GPU each."""
        return Pool.make(self.n_workers, self.backend, self.address, needs_gpu=self.device == "cuda")

    @property
    def n_halvings(self) -> int:
        """Depth of the U-Net, the maximum for the crop size: 8 at 256 pixels."""
        return self.crop_size.bit_length() - 1

    def is_unet(self, method: str) -> bool:
        """Whether a method trains the U-Net instead of the zoo's network."""
        return method in _ON_UNET

    def grid(self, method: str) -> tuple[float, ...]:
        """The learning rates to choose from for a method."""
        return self.unet_rates if self.is_unet(method) else self.rates

    def schedule(self, method: str, n_steps: int, rate: float) -> FinetuneSettings:
        """The objective and schedule of one run. The U-Net is trained as in the pix2pix paper."""
        shared = FinetuneSettings(
            n_steps=n_steps, crop_size=self.crop_size, learning_rate=rate, gan="off", seed=self.seed
        )
        if not self.is_unet(method):
            return replace(shared, batch_size=self.batch_size)
        return replace(
            shared,
            batch_size=1,
            optimizer="adam",
            betas=(0.5, 0.999),
            n_warmup=0,
            constant_share=0.5,
            gan="non-saturating" if method == BOOK else "off",
            discriminator_rate=rate,
            discriminator_width=self.unet_width,
        )

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, without workers, backend and address, which do not affect results."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        del values["n_workers"], values["backend"], values["address"]
        return values

    def decides_a_run(self) -> dict[str, Any]:
        """The settings that affect a run of given method, length and rate."""
        values = self.to_dict()
        return {name: values[name] for name in _DECIDE_A_RUN}


QUICK_BENCHMARK: dict[str, Any] = {
    "lengths": (0, 5, 10),
    "rates": (1e-3, 4e-3),
    "unet_rates": (2e-4,),
    "n_concepts": 2,
    "n_tuning": 1,
    "n_photos": 4,
    "unet_width": 8,
}
"""Minimal settings for a smoke test; the figures are meaningless."""
