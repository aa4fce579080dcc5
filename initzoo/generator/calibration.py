"""Calibration: predicts a PSNR range for a generated init from the novelty of its request.

It is stored as `calibration.json` in the weight generator's folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidGenerator
from initzoo.files import DamagedFile, read_file, read_json, reported_as, write_bytes, write_json
from initzoo.generator.encoders import Encoder
from initzoo.generator.novelty import Novelty
from initzoo.generator.request import Request

__all__ = ["CALIBRATION_FILE", "Calibration", "Expectation", "PsnrRanges", "calibrate"]

CALIBRATION_FILE = "calibration.json"

_MAX_BYTES = 2**25
_MAX_PSNR = 1000.0
_ADVICE = "Get the weight generator again."


@dataclass(frozen=True)
class Expectation:
    """The predicted quality of the init generated from a request.

    Args:
        distance: distance of the request from the taught wordings, 0 to 1.
        low: lower end of the predicted PSNR range, dB.
        high: upper end of the range, dB.
        is_far: whether the request is farther than nearly all unseen wordings of taught concepts.
    """

    distance: float
    low: float
    high: float
    is_far: bool


@dataclass(frozen=True)
class PsnrRanges:
    """The PSNR range at every distance, piecewise linear with three knots.

    Args:
        distances: the knots: 0, the largest calibrated distance, and 1.
        lows: lower ends at the knots, dB.
        highs: upper ends at the knots, dB.
        far_from: words beyond this distance count as far.
        level: nominal coverage of the ranges.
        coverage: coverage measured on the test half.
        n_calibrated: number of wordings in the calibration half.
        n_tested: number of wordings in the test half.
    """

    distances: tuple[float, float, float]
    lows: tuple[float, float, float]
    highs: tuple[float, float, float]
    far_from: float
    level: float
    coverage: float
    n_calibrated: int
    n_tested: int

    def at(self, distance: float) -> tuple[float, float]:
        """The range at a distance, dB. No end is below 0, the PSNR of black against white.

        Example:
            >>> ranges = PsnrRanges((0, 0.5, 1), (20, 18, -10), (30, 26, 14), 0.4, 0.9, 0.85, 9, 9)
            >>> ranges.at(0.25), ranges.at(0.75), ranges.at(1)
            ((19.0, 28.0), (4.0, 20.0), (0.0, 14.0))
        """
        low, high = (float(np.interp(distance, self.distances, ends)) for ends in (self.lows, self.highs))
        return max(low, 0.0), max(high, 0.0)


@dataclass(frozen=True, eq=False)
class Calibration:
    """A novelty measure and PSNR ranges for one weight generator.

    Args:
        novelty: measures the distance of requests from the taught wordings.
        ranges: the predicted PSNR at each distance.
        text_sha256: digest of the encoder.
        generator_sha256: digest of the weight generator's `config.json`.
    """

    novelty: Novelty
    ranges: PsnrRanges
    text_sha256: str
    generator_sha256: str

    def expect(self, request: Request) -> Expectation:
        """Predict the quality of the init generated from a request.

        Raises:
            InvalidWords, InvalidRequest: the request cannot be read.
        """
        distance = self.novelty.distance(request)
        low, high = self.ranges.at(distance)
        return Expectation(distance, low, high, is_far=distance > self.ranges.far_from)

    def save(self, folder: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write `calibration.json` into a weight generator's folder.

        Raises:
            OutputError: the file exists and `force` is False, or it cannot be written.
        """
        write_bytes(Path(folder) / CALIBRATION_FILE, self.to_bytes(), force=force)

    def to_bytes(self) -> bytes:
        """The content of `calibration.json`."""
        ranges = {name: getattr(self.ranges, name) for name in PsnrRanges.__dataclass_fields__}
        values = {
            "text_sha256": self.text_sha256,
            "generator_sha256": self.generator_sha256,
            "ranges": ranges,
            **self.novelty.to_dict(),
        }
        return write_json(values)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        encoder: Encoder,
        *,
        generator_sha256: str,
        digest: str | None = None,
    ) -> Calibration:
        """Read `calibration.json` of a weight generator's folder, and check every byte of it.

        Args:
            folder: folder of the weight generator.
            encoder: encoder of the weight generator.
            generator_sha256: digest of its `config.json`.
            digest: expected SHA-256 of the file; not checked by default.

        Raises:
            InvalidGenerator: the file is missing, damaged, or was made for another weight generator.
        """
        path = Path(folder) / CALIBRATION_FILE
        with reported_as(InvalidGenerator, f"calibration '{path}'", _ADVICE):
            data = read_file(path, max_bytes=_MAX_BYTES, digest=digest)
            values = read_json(data, dict[str, Any])
            if values.get("text_sha256") != encoder.digest:
                raise DamagedFile("was made with other token vectors")
            if values.get("generator_sha256") != generator_sha256:
                raise DamagedFile("was made for another weight generator")
            try:
                calibration = _parse(values, encoder)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                raise DamagedFile(f"is not a calibration of this version of initzoo ({error})") from error
            return calibration


def _parse(values: Mapping[str, Any], encoder: Encoder) -> Calibration:
    parts = {name: values["ranges"][name] for name in PsnrRanges.__dataclass_fields__}
    lists = {name: tuple(map(float, parts[name])) for name in ("distances", "lows", "highs")}
    ranges = PsnrRanges(**(parts | lists))
    if any(len(knots) != 3 or not np.isfinite(knots).all() for knots in lists.values()):
        raise ValueError("ranges must have three finite knots")
    knots, ends = lists["distances"], zip(lists["lows"], lists["highs"], strict=True)
    if not 0 == knots[0] < knots[1] < knots[2] == 1:
        raise ValueError("the distances of its ranges must rise from 0 to 1")
    if any(not -_MAX_PSNR <= low <= high <= _MAX_PSNR for low, high in ends):
        raise ValueError("the ends of a range must be in order")
    for name in ("far_from", "level", "coverage"):
        if type(parts[name]) not in (int, float) or not 0 <= parts[name] <= 1:
            raise ValueError(f"{name} must be from 0 to 1")
    for name in ("n_calibrated", "n_tested"):
        if type(parts[name]) is not int or not 0 <= parts[name] < 2**31:
            raise ValueError(f"{name} must be a count")
    digests = {name: str(values[name]) for name in ("text_sha256", "generator_sha256")}
    return Calibration(encoder.read_novelty(values), ranges, **digests)


def calibrate(
    distances: Sequence[float],
    psnr: Sequence[float],
    concepts: Sequence[str],
    *,
    near: Sequence[float],
    meaningless: Sequence[float],
    level: float = 0.9,
    seed: int = 0,
) -> PsnrRanges:
    """Calibrate PSNR ranges on one half of the held-out concepts and test them on the other.

    The centre is a least-squares line of PSNR against distance that never rises. The ends have a constant
    distance from it, taken from the residuals of the calibration half by split conformal prediction with
    one quantile per side. Beyond the largest calibrated distance, the ranges approach those of unrelated
    words, which they reach at distance 1.

    Args:
        distances: distances of the held-out wordings.
        psnr: PSNR of the inits generated from them, dB.
        concepts: the concept of each wording; the two halves share none.
        near: distances of unseen wordings of taught concepts; 95% of them count as near.
        meaningless: PSNR of inits generated from the words of other concepts, dB.
        level: nominal coverage, above 0 and below 1.
        seed: seed of the split.

    Raises:
        ValueError: there are fewer than four concepts, or `near` or `meaningless` is empty.

    Source:
        Papadopoulos et al. (2002), Inductive Confidence Machines for Regression.
    """
    names = sorted(set(concepts))
    if len(names) < 4 or not near or not meaningless:
        raise ValueError(f"calibration needs at least 4 held-out concepts, found {len(names)}")
    # Split by concept: the wordings of one concept have similar errors and must not be in both halves.
    order = np.random.default_rng(seed).permutation(len(names))
    chosen = {names[i] for i in order[: len(names) // 2]}
    is_chosen = np.array([concept in chosen for concept in concepts])
    far, quality = np.asarray(distances, float), np.asarray(psnr, float)
    slope, offset = _falling_line(far[is_chosen], quality[is_chosen])
    residuals = quality[is_chosen] - (slope * far[is_chosen] + offset)
    # One quantile per side, since the errors need not be symmetric.
    below, above = _conformal_quantile(-residuals, level), _conformal_quantile(residuals, level)
    farthest = float(min(far[is_chosen].max(), 0.999))
    centres = np.array([offset, offset + slope * farthest])
    lowest, highest = np.quantile(meaningless, [(1 - level) / 2, (1 + level) / 2])
    lows, highs = centres - below, centres + above
    ranges = PsnrRanges(
        distances=(0.0, farthest, 1.0),
        lows=(float(lows[0]), float(lows[1]), float(min(lows[1], lowest))),
        highs=(float(highs[0]), float(highs[1]), float(min(highs[1], highest))),
        far_from=float(np.quantile(near, 0.95)),
        level=level,
        coverage=0.0,
        n_calibrated=int(is_chosen.sum()),
        n_tested=int((~is_chosen).sum()),
    )
    return _tested(ranges, far[~is_chosen], quality[~is_chosen])


def _tested(ranges: PsnrRanges, distances: NDArray[np.float64], psnr: NDArray[np.float64]) -> PsnrRanges:
    ends = [ranges.at(float(distance)) for distance in distances]
    held = [low <= value <= high for (low, high), value in zip(ends, psnr, strict=True)]
    return replace(ranges, coverage=float(np.mean(held)))


def _falling_line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and offset of the least-squares line; a rising slope becomes 0."""
    spread = float(((x - x.mean()) ** 2).sum())
    slope = min(float(((x - x.mean()) * (y - y.mean())).sum()) / spread, 0.0) if spread > 0 else 0.0
    return slope, float(y.mean() - slope * x.mean())


def _conformal_quantile(residuals: NDArray[np.float64], level: float) -> float:
    """The quantile that a new residual exceeds with probability at most `(1 - level) / 2`."""
    n = len(residuals)
    # n + 1 instead of n: the new residual is equally likely to have each rank among all n + 1. With few
    # residuals the quantile is capped at their maximum.
    share = min(1.0, np.ceil((n + 1) * (1 + level) / 2) / n)
    return float(np.quantile(residuals, share, method="higher"))
