"""How an evaluation of a weight generator is done."""

from __future__ import annotations

from dataclasses import dataclass, field

from initzoo.evaluation.bootstrap import Resampling
from initzoo.files import check_least
from initzoo.generator import N_EXAMPLE_PAIRS
from initzoo.pairs import PhotoSource
from initzoo.work import Backend

__all__ = ["EvaluationSettings"]


@dataclass(frozen=True)
class EvaluationSettings:
    """How an evaluation is done.

    Args:
        photos: photos to measure on.
        n_pairs: example pairs per request, for weight generators that read pairs; 0 for words alone.
        fit: train an adapter on each concept that has none, as the upper limit.
        n_workers: processes, one core each; 0 for as many as there are cores, here or in the cluster.
        backend: where workers run: in processes of this machine, or on a ray cluster.
        address: HOST:PORT of the Ray cluster; by default that of RAY_ADDRESS, or one that is started here.
        n_overlap: number of concepts whose wrong pixels are compared.
        n_pictures: number of concepts in the grid.
        n_ridge_wordings: largest number of wordings of a train concept to fit kernel ridge on; the time grows
            with its cube. The number of neighbours is tuned on as many, kernel ridge on three.
        seed: seed of noise, folds and shuffles.
        resampling: how intervals are made.

    Raises:
        ValueError: a number is out of range, or there is an address without `ray`.
    """

    photos: PhotoSource = field(default_factory=PhotoSource)
    n_pairs: int = N_EXAMPLE_PAIRS
    fit: bool = False
    n_workers: int = 0
    backend: Backend = "processes"
    address: str | None = None
    n_overlap: int = 48
    n_pictures: int = 16
    n_ridge_wordings: int = 12
    seed: int = 0
    resampling: Resampling = field(default_factory=Resampling)

    def __post_init__(self) -> None:
        if self.address is not None and self.backend != "ray":
            raise ValueError("address goes with --backend ray. Add it, or leave out --address.")
        check_least(self, n_pairs=0, n_workers=0, n_overlap=0, n_pictures=1, n_ridge_wordings=1, seed=0)
