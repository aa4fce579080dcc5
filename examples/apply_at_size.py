"""Compare ways to edit large photos: PSNR against the teacher, and seconds, for docs/apply-at-size.md.

Photos of a folder become photos of 1, 4 and 12 megapixels: one photo enlarged, and a collage of photos that
are enlarged to twice their size at most. Each way of editing is compared with the teacher at the full size
("full"), and with the teacher at the size of the look, scaled up ("scaled").

    python examples/apply_at_size.py PHOTOS --megapixels 1 4 12 --sides 256 384 512
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from initzoo.files.images import read_image
from initzoo.networks.upsampling import shrink_to_side, upsample_edit
from initzoo.pairs.teachers import parse_teacher
from initzoo.zoo.zoo import Zoo

Scores = dict[tuple[str, str], list[tuple[float, float, float]]]
"""Of method and look: PSNR against the teacher at full size and scaled up, and seconds, for each photo."""

LOOKS = ("pencil-sketch", "oil", "blur", "sepia", "duotone-navy-gold")


def make_photos(folder: Path, megapixels: float) -> dict[str, np.ndarray]:
    """One photo enlarged, and a collage, both 4 to 3."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    paths = sorted(folder.glob("*.jpg"))
    chosen = [read_image(path) for path in paths[:: max(1, len(paths) // 40)]]
    rng = np.random.default_rng(0)

    def fill(photo: np.ndarray, height: int, width: int) -> np.ndarray:
        scale = max(height / photo.shape[0], width / photo.shape[1])
        shape = (max(width, round(photo.shape[1] * scale)), max(height, round(photo.shape[0] * scale)))
        return cv2.resize(photo, shape, interpolation=cv2.INTER_LANCZOS4)[:height, :width]

    n_side = max(1, round(height / 750))  # photos of 384 rows, twice their size
    parts = iter(chosen * 9)
    collage = np.concatenate(
        [
            np.concatenate([fill(next(parts), height // n_side, width // n_side) for _ in range(n_side)], 1)
            for _ in range(n_side)
        ]
    )
    enlarged = fill(chosen[len(chosen) // 2], height, width).astype(np.float32)
    grain = rng.normal(0, 3, (*enlarged.shape[:2], 1)).astype(np.float32)  # as a sensor's
    return {"enlarged": np.clip(enlarged + grain, 0, 255).astype(np.uint8), "collage": collage}


def scale_up(image: np.ndarray, like: np.ndarray) -> np.ndarray:
    return cv2.resize(image, like.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def to_bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def enlarge_edit(photo: np.ndarray, small: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """The edit alone, enlarged."""
    return scale_up(edited, photo)


def add_change(photo: np.ndarray, small: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """The difference, enlarged, on the photo."""
    change = edited.astype(np.float32) - small
    return to_bytes(photo.astype(np.float32) + scale_up(change, photo))


def joint_bilateral(photo: np.ndarray, small: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """Joint bilateral upsampling of the change: nine neighbours, weighted by distance and by grey."""
    height, width = photo.shape[:2]
    rows, columns = small.shape[:2]
    change = edited.astype(np.float32) - small
    grey_small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    result = np.empty_like(photo)
    x = (np.arange(width) + 0.5) * columns / width - 0.5
    for top in range(0, height, 256):
        strip = photo[top : top + 256]
        grey = cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY).astype(np.float32)
        y = (np.arange(top, top + len(strip)) + 0.5) * rows / height - 0.5
        total, weights = np.zeros(strip.shape, np.float32), np.full(grey.shape, 1e-6, np.float32)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                near_y, near_x = np.rint(y) + down, np.rint(x) + right
                i, j = np.clip(near_y, 0, rows - 1).astype(int), np.clip(near_x, 0, columns - 1).astype(int)
                far = ((near_y - y)[:, None] ** 2 + (near_x - x)[None] ** 2) / (2 * 0.7**2)
                unlike = (grey - grey_small[np.ix_(i, j)]) ** 2 / (2 * 12**2)
                weight = np.exp(-far - unlike).astype(np.float32)
                total += weight[..., None] * change[np.ix_(i, j)]
                weights += weight
        result[top : top + 256] = to_bytes(strip + total / weights[..., None])
    return result


def bilateral_grid(photo: np.ndarray, small: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """An affine map of colours in each cell of a bilateral grid: place by 16 pixels, 8 levels of grey."""
    cell, n_levels = 16, 8
    rows, columns = (-(-side // cell) + 1 for side in small.shape[:2])
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255 * (n_levels - 1)
    one = np.ones((*small.shape[:2], 1), np.float32)
    x = np.concatenate([small.astype(np.float32) / 255, one], 2)
    y = edited.astype(np.float32) / 255
    sums = np.concatenate([x[..., :, None] * x[..., None, :], x[..., :, None] * y[..., None, :]], -1)
    maps = np.empty((n_levels, rows, columns, 4, 3), np.float32)
    stacked = []
    for level in range(n_levels):
        share = np.maximum(0, 1 - np.abs(grey - level))
        sum_here = sums.reshape(*grey.shape, -1) * share[..., None]
        sum_here = cv2.blur(sum_here.reshape(*grey.shape, 28)[..., :], (2 * cell, 2 * cell))
        stacked.append(cv2.resize(sum_here, (columns, rows), interpolation=cv2.INTER_LINEAR))
    grid = np.stack(stacked).reshape(n_levels, rows, columns, 4, 7)
    smooth = grid.copy()
    smooth[1:] += grid[:-1] / 2
    smooth[:-1] += grid[1:] / 2
    whole = smooth.sum((0, 1, 2))
    fallback = np.linalg.solve(whole[:, :4] + 1e-3 * np.eye(4), whole[:, 4:])
    damping = np.float32(1e-3) * np.eye(4, dtype=np.float32)
    maps = np.linalg.solve(smooth[..., :4] + damping, smooth[..., 4:] + damping @ fallback).astype(np.float32)
    result = np.empty_like(photo)
    height = photo.shape[0]
    lifted = [maps[level].reshape(rows, columns, 12) for level in range(n_levels)]
    for top in range(0, height, 256):
        strip = photo[top : top + 256].astype(np.float32) / 255
        level_of = cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY) * (n_levels - 1)
        place = np.clip((np.arange(top, top + len(strip)) + 0.5) * rows / height - 0.5, 0, rows - 1)
        first = np.minimum(place.astype(int), rows - 2)
        share = (place - first).astype(np.float32)[:, None, None]
        total = np.zeros_like(strip)
        for level, values in enumerate(lifted):
            lines = values[first] * (1 - share) + values[first + 1] * share
            wide = cv2.resize(lines, (strip.shape[1], len(strip))).reshape(*strip.shape[:2], 4, 3)
            weight = np.maximum(0, 1 - np.abs(level_of - level))[..., None]
            total += weight * (np.einsum("hwi,hwij->hwj", strip, wide[..., :3, :]) + wide[..., 3, :])
        result[top : top + 256] = to_bytes(255 * total)
    return result


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "edit enlarged": enlarge_edit,
    "change added": add_change,
    "joint bilateral": joint_bilateral,
    "bilateral grid": bilateral_grid,
    "guided filter": upsample_edit,
}


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = cv2.norm(first, second, cv2.NORM_L2SQR) / first.size
    return float(10 * np.log10(255**2 / max(error, 1e-4)))


def record(
    scores: Scores,
    look: str,
    full: np.ndarray,
    scaled: np.ndarray,
    folder: Path | None,
    photo: str,
    name: str,
    picture: np.ndarray,
    seconds: float,
) -> None:
    """Score a picture, and write it if there is a folder."""
    scores[name, look].append((psnr(picture, full), psnr(picture, scaled), seconds))
    if folder:
        cv2.imwrite(str(folder / f"{photo}-{look}-{name.replace(' ', '_')}.png"), picture[..., ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="Folder of photos.")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 4, 12])
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 384, 512])
    parser.add_argument("--looks", nargs="+", default=LOOKS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--kinds", nargs="+", default=["enlarged", "collage"])
    parser.add_argument("--skip-full-size", action="store_true", help="It takes half a minute a photo.")
    parser.add_argument("--write", type=Path, help="Folder for the pictures.")
    chosen = parser.parse_args()
    zoo = Zoo.from_pretrained("starter")
    out = sys.stdout.write
    for megapixels in chosen.megapixels:
        scores: Scores = defaultdict(list)
        for kind, photo in make_photos(chosen.photos, megapixels).items():
            if kind not in chosen.kinds:
                continue
            for look in chosen.looks:
                teacher = parse_teacher(zoo.index.row(look).teacher)
                network = zoo.pull(look).to_network()
                full = teacher.edit([photo], [0])[1][0]
                scaled = scale_up(teacher.edit([shrink_to_side(photo, 384)], [0])[1][0], photo)

                note = partial(record, scores, look, full, scaled, chosen.write, f"{megapixels:g}-{kind}")
                if chosen.write:
                    note("teacher", full, 0)
                    note("photo", photo, 0)
                if not chosen.skip_full_size:
                    start = time.perf_counter()
                    picture = network.edit(photo)
                    note("full size", picture, time.perf_counter() - start)
                for side in chosen.sides:
                    small = shrink_to_side(photo, side)
                    start = time.perf_counter()
                    edited = network.edit(small)
                    spent = time.perf_counter() - start
                    for method in chosen.methods:
                        start = time.perf_counter()
                        picture = METHODS[method](photo, small, edited)
                        note(f"{method} {side}", picture, spent + time.perf_counter() - start)
        out(f"\n{megapixels:g} megapixels, PSNR in dB: teacher at full size / at 384, scaled up\n\n")
        columns = ["method", *chosen.looks, "mean", "seconds"]
        out(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}\n")
        for name in dict.fromkeys(name for name, _ in scores):
            rows = [np.mean(scores[name, look], axis=0) for look in chosen.looks]
            cells = [f"{row[0]:.1f} / {row[1]:.1f}" for row in [*rows, np.mean(rows, axis=0)]]
            out(f"| {name} | {' | '.join(cells)} | {np.mean([row[2] for row in rows]):.1f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
