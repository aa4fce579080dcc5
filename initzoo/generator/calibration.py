"""How good a generated init will be: the novelty of a request, turned into an expected PSNR range.

On disk it is `calibration.json` beside the weight generator's other files.
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
from initzoo.files.atomic import write_bytes
from initzoo.files.digests import DamagedFile, read_file, reported_as
from initzoo.files.settings import read_json, write_json
from initzoo.generator.encoders import Encoder
from initzoo.generator.novelty import Novelty
from initzoo.generator.request import Request

__all__ = ["CALIBRATION_FILE", "Calibration", "Expectation", "PsnrRanges", "calibrate"]

CALIBRATION_FILE = "calibration.json"

_MAX_BYTES = 2**25
_ADVICE = "Get the weight generator again."


@dataclass(frozen=True)
class Expectation:
    """What to expect of the weights of a request.

    Args:
        distance: how far the request is from what the zoo was taught, 0 to 1.
        low: PSNR that the generated init will hardly be below, dB.
        high: PSNR that it will hardly be above, dB.
        is_far: farther than nearly all unseen words for what the zoo was taught.
    """

    distance: float
    low: float
    high: float
    is_far: bool


@dataclass(frozen=True)
class PsnrRanges:
    """A range of PSNR for every distance: straight lines between three places.

    Args:
        distances: 0, the farthest one that was calibrated, and 1.
        lows: lower ends there, dB.
        highs: upper ends there, dB.
        far_from: distance from which words count as far.
        level: share of the calibrating half that the ranges were to hold.
        coverage: share of the other half that they do hold.
        n_calibrated: wordings of the calibrating half.
        n_tested: wordings of the other half.
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
        """The range at a distance, dB.

        Example:
            >>> ranges = PsnrRanges((0, 0.5, 1), (20, 18, 10), (30, 26, 14), 0.4, 0.9, 0.85, 9, 9)
            >>> ranges.at(0.25), ranges.at(0.75)
            ((19.0, 28.0), (14.0, 20.0))
        """
        low = float(np.interp(distance, self.distances, self.lows))
        return low, float(np.interp(distance, self.distances, self.highs))


@dataclass(frozen=True, eq=False)
class Calibration:
    """The novelty of requests, and ranges calibrated for one weight generator.

    Args:
        novelty: measures distances from what the weight generator was taught.
        ranges: the PSNR to expect at each distance.
        text_sha256: digest of the encoder that it was made with.
        generator_sha256: digest of the weight generator's `config.json`.
    """

    novelty: Novelty
    ranges: PsnrRanges
    text_sha256: str
    generator_sha256: str

    def expect(self, request: Request) -> Expectation:
        """Say what to expect of the weights that a request gives.

        Raises:
            InvalidWords, InvalidRequest: the request cannot be read.
        """
        distance = self.novelty.distance(request)
        low, high = self.ranges.at(distance)
        return Expectation(distance, low, high, is_far=distance > self.ranges.far_from)

    def save(self, folder: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write `calibration.json` into a weight generator's folder.

        Raises:
            OutputError: there is one already and `force` is off, or it cannot be written.
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
            folder: of the weight generator.
            encoder: of the weight generator.
            generator_sha256: digest of its `config.json`.
            digest: SHA-256 that the file must have, where it is known.

        Raises:
            InvalidGenerator: the file is missing, damaged, or was made for another weight generator.
        """
        path = Path(folder) / CALIBRATION_FILE
        with reported_as(InvalidGenerator, f"calibration '{path}'", _ADVICE):
            data = read_file(path, max_bytes=_MAX_BYTES, digest=digest)
            values = read_json(data, dict[str, Any])
            try:
                calibration = _parse(values, encoder)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise DamagedFile(f"is no calibration of this version of initzoo ({error})") from error
            if calibration.text_sha256 != encoder.digest:
                raise DamagedFile("was made with other token vectors")
            if calibration.generator_sha256 != generator_sha256:
                raise DamagedFile("was made for another weight generator")
            return calibration


def _parse(values: Mapping[str, Any], encoder: Encoder) -> Calibration:
    parts = {name: values["ranges"][name] for name in PsnrRanges.__dataclass_fields__}
    lists = {name: tuple(map(float, parts[name])) for name in ("distances", "lows", "highs")}
    ranges = PsnrRanges(**(parts | lists))
    if any(len(one) != 3 or not np.isfinite(one).all() for one in lists.values()):
        raise ValueError("ranges with other than three finite places")
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
    """Calibrate ranges on one half of the held-out concepts, and test them on the other.

    The middle is a straight line of PSNR on distance that never rises; the ends lie so far from it that
    the calibrating half is covered as wanted (split conformal prediction, Papadopoulos et al. 2002, with a
    quantile for each side). Beyond the farthest distance of that half, the ranges run to those of words
    that have nothing to do with the edit, which they reach at distance 1.

    Args:
        distances: of held-out wordings.
        psnr: of the inits that they gave, dB.
        concepts: which concept each wording is of; the halves share none.
        near: distances of unseen wordings for what was taught: nearly all of them are to count as near.
        meaningless: PSNR of inits generated from other concepts' words, dB.
        level: share that the ranges are to hold, above 0 and below 1.
        seed: draws the halves.

    Raises:
        ValueError: there are fewer than four concepts, or nothing to compare with.
    """
    names = sorted(set(concepts))
    if len(names) < 4 or not near or not meaningless:
        raise ValueError(f"calibration needs at least 4 held-out concepts, found {len(names)}")
    order = np.random.default_rng(seed).permutation(len(names))
    chosen = {names[place] for place in order[: len(names) // 2]}
    here = np.array([concept in chosen for concept in concepts])
    far, quality = np.asarray(distances, float), np.asarray(psnr, float)
    slope, offset = _falling_line(far[here], quality[here])
    left = quality[here] - (slope * far[here] + offset)
    below, above = _conformal_quantile(-left, level), _conformal_quantile(left, level)
    farthest = float(min(far[here].max(), 0.999))
    middles = np.array([offset, offset + slope * farthest])
    lowest, highest = np.quantile(meaningless, [(1 - level) / 2, (1 + level) / 2])
    lows, highs = middles - below, middles + above
    ranges = PsnrRanges(
        distances=(0.0, farthest, 1.0),
        lows=(float(lows[0]), float(lows[1]), float(min(lows[1], lowest))),
        highs=(float(highs[0]), float(highs[1]), float(min(highs[1], highest))),
        far_from=float(np.quantile(near, 0.95)),
        level=level,
        coverage=0.0,
        n_calibrated=int(here.sum()),
        n_tested=int((~here).sum()),
    )
    return _tested(ranges, far[~here], quality[~here])


def _tested(ranges: PsnrRanges, distances: NDArray[np.float64], psnr: NDArray[np.float64]) -> PsnrRanges:
    ends = [ranges.at(float(distance)) for distance in distances]
    held = [low <= value <= high for (low, high), value in zip(ends, psnr, strict=True)]
    return replace(ranges, coverage=float(np.mean(held)))


def _falling_line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Slope, at most 0, and offset of the least-squares line."""
    spread = float(((x - x.mean()) ** 2).sum())
    slope = min(float(((x - x.mean()) * (y - y.mean())).sum()) / spread, 0.0) if spread > 0 else 0.0
    return slope, float(y.mean() - slope * x.mean())


def _conformal_quantile(residuals: NDArray[np.float64], level: float) -> float:
    """What all but `(1 - level) / 2` of residuals are below, with the correction for their number."""
    n = len(residuals)
    share = min(1.0, np.ceil((n + 1) * (1 + level) / 2) / n)
    return float(np.quantile(residuals, share, method="higher"))
