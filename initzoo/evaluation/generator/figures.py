"""Pictures of an evaluation: a grid of edits, and quality against distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initzoo.evaluation.cases import UNSEEN_WORDINGS, Question
from initzoo.evaluation.report.grids import GridRow, draw_grid
from initzoo.evaluation.report.plots import dress_axes, encode_figure, new_figure
from initzoo.generator import PsnrRanges
from initzoo.pairs import TEACHING_SIDE, PhotoSource, example_pair, fit_short_side, score_images
from initzoo.zoo import BAND, INK, QUESTIONS, QUIET, Zoo

__all__ = ["Point", "draw_questions", "draw_scatter"]


@dataclass(frozen=True)
class Point:
    """A wording: how far it is from the zoo, and how good its init came out, PSNR in dB."""

    split: str
    distance: float
    psnr: float


def draw_questions(
    zoo: Zoo,
    questions: Sequence[Question],
    blocks: Mapping[str, NDArray[np.float32]],
    source: PhotoSource,
    *,
    n_columns: int = 2,
    side: int = 160,
) -> NDArray[np.uint8]:
    """Draw for each question a photo, what the teacher makes of it, the generated init's, the trained one's.

    Args:
        zoo: has the base.
        questions: asked in their first wording.
        blocks: by concept, the generated blocks.
        source: photos, used in turn.
        n_columns: questions side by side.
        side: of each image, pixels.

    Returns:
        The picture, uint8 RGB. Columns for trained adapters are left out where a question has none.
    """
    photos = [photo.pixels for photo in source.load()]
    has_trained = all(question.trained is not None for question in questions)
    rows = []
    for number, question in enumerate(questions):
        photo = fit_short_side(photos[number % len(photos)], TEACHING_SIDE)
        given, wanted = example_pair(question.teacher, photo, seed=number)
        generated = zoo.network(blocks[question.concept_id]).edit(given)
        images = [given, wanted, generated]
        note = f"{score_images([generated], [wanted]).psnr:.1f} dB"
        if has_trained and question.trained is not None:
            images.append(zoo.network(question.trained).edit(given))
            note += f", trained {score_images(images[-1:], [wanted]).psnr:.1f}"
        title = question.words[0] if len(question.words[0]) < 60 else question.words[0][:57] + "..."
        rows.append(GridRow(title=title, note=note, images=tuple(images)))
    headings = ("photo", "teacher", "generated", "trained")
    return draw_grid(rows, headings[: 4 if has_trained else 3], n_columns=n_columns, side=side)


def draw_scatter(points: Sequence[Point], ranges: PsnrRanges | None) -> bytes:
    """Draw quality against distance, with the expected range behind it.

    Args:
        points: one a wording.
        ranges: as calibrated; None to leave them out.

    Returns:
        A PNG file.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure = new_figure(7.2, 4.6)
    axes = figure.add_subplot()
    if ranges is not None:
        # Where nothing was asked, nothing is to be seen: the band ends a little after the last point.
        last = min(1.0, max(point.distance for point in points) + 0.03)
        where = np.linspace(0, last, 200)
        ends = np.array([ranges.at(float(distance)) for distance in where])
        label = f"expected range ({ranges.coverage:.0%} of {ranges.n_tested} test wordings inside)"
        axes.fill_between(where, ends[:, 0], ends[:, 1], color=BAND, lw=0, label=label, zorder=0)
        axes.axvline(ranges.far_from, color=QUIET, lw=0.8, ls=(0, (4, 3)), zorder=1)
        top = axes.get_xaxis_transform()
        axes.text(
            ranges.far_from, 1.01, "far from the zoo →", transform=top, fontsize=8, color=QUIET, va="bottom"
        )
    for split, asked in QUESTIONS.items():
        chosen = [point for point in points if point.split == split]
        if chosen:
            axes.scatter(
                [point.distance for point in chosen],
                [point.psnr for point in chosen],
                s=16,
                color=asked.colour,
                alpha=0.85,
                linewidths=0,
                label=asked.long,
                zorder=2 if split == UNSEEN_WORDINGS else 3,
            )
    axes.set_xlabel("distance of the words from the zoo's", color=INK)
    axes.set_ylabel("PSNR of the generated init, dB", color=INK)
    axes.set_xlim(left=0)
    dress_axes(axes)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper right", scatterpoints=1)
    return encode_figure(figure)
