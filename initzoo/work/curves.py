"""The curve of a training: loss, PSNR, learning rate and seconds by step, as rows of a CSV file."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from initzoo.errors import OutputError
from initzoo.files import write_bytes

__all__ = ["CurveLog", "CurvePoint", "encode_curve"]

_N_POINTS = 500


@dataclass(frozen=True)
class CurvePoint:
    """A row of a training curve.

    Args:
        stage: name of the stage, e.g. `weights`.
        step: steps of the stage that are done.
        loss: smoothed training loss; None before the first step.
        psnr: PSNR on the validation pairs, dB; None where nothing was validated.
        learning_rate: learning rate of the last step.
        seconds: time spent on the stage, interruptions not counted.
    """

    stage: str
    step: int
    loss: float | None
    psnr: float | None
    learning_rate: float
    seconds: float


_COLUMNS = tuple(field.name for field in fields(CurvePoint))


def encode_curve(points: Iterable[CurvePoint]) -> bytes:
    """Encode points as a CSV file with a line of column names.

    Example:
        >>> print(encode_curve([CurvePoint("steps", 10, 0.25, 21.5, 1e-3, 2.0)]).decode(), end="")
        stage,step,loss,psnr,learning_rate,seconds
        steps,10,0.25,21.5,0.001,2.0
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([getattr(point, name) for name in _COLUMNS] for point in points)
    return text.getvalue().encode()


class CurveLog:
    """The curve of one stage, kept in its run folder, so that it is whole after an interruption.

    About 500 points of a stage are kept, and all with a PSNR. Points after the last snapshot of an
    interrupted training are dropped, since their steps are done again.

    Args:
        path: the CSV file; its folder must exist.
        stage: name of the stage.
        n_all: steps of the stage.
        n_done: steps done so far.

    Raises:
        OutputError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = CurveLog(Path(folder) / "curve.csv", "steps", n_all=10, n_done=0)
        ...     log.add(5, loss=0.25, learning_rate=1e-3)
        ...     log.add(9, loss=0.125, learning_rate=1e-4)
        ...     resumed = CurveLog(Path(folder) / "curve.csv", "steps", n_all=10, n_done=6)
        ...     [point.step for point in resumed.points]
        [5]
    """

    def __init__(self, path: Path, stage: str, *, n_all: int, n_done: int) -> None:
        self.path, self.stage = path, stage
        self._every = max(1, n_all // _N_POINTS)
        self._n_all = n_all
        self.points = [point for point in _read(path, stage) if point.step <= n_done]
        self._began = time.monotonic() - (self.points[-1].seconds if self.points else 0.0)
        # Written anew, since the last row may have been cut off by a kill.
        write_bytes(path, encode_curve(self.points), force=True)

    def add(
        self,
        step: int,
        *,
        loss: float | None,
        learning_rate: float,
        is_scored: bool = False,
    ) -> None:
        """Add a point, unless the last one is as good as this one. One to be scored is kept.

        Raises:
            OutputError: the file cannot be written.
        """
        last = self.points[-1].step if self.points else -self._every
        is_due = step // self._every > last // self._every or step == self._n_all
        if step <= last or not (is_due or is_scored):
            return
        point = CurvePoint(
            self.stage,
            step,
            None if loss is None else round(loss, 6),
            None,
            float(f"{learning_rate:.6g}"),
            round(time.monotonic() - self._began, 2),
        )
        self.points.append(point)
        try:
            with self.path.open("ab") as file:
                file.write(encode_curve([point]).partition(b"\n")[2])
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror or error}. Make room there, then run the same "
                "command again"
            ) from error

    def score(self, step: int, psnr: float) -> None:
        """Give a point that was added its PSNR.

        Raises:
            OutputError: the file cannot be written.
        """
        self.points = [
            replace(point, psnr=round(psnr, 4)) if point.step == step else point for point in self.points
        ]
        write_bytes(self.path, encode_curve(self.points), force=True)


def _read(path: Path, stage: str) -> list[CurvePoint]:
    """The points of a file up to the first row that is damaged, e.g. by a kill while it was written."""
    points: list[CurvePoint] = []
    try:
        rows = list(csv.reader(path.read_text("utf-8", errors="replace").splitlines()))
    except (OSError, csv.Error):
        return points
    for row in rows[1:]:
        try:
            _, step, loss, psnr, rate, seconds = row
            point = CurvePoint(
                stage,
                int(step),
                float(loss) if loss else None,
                float(psnr) if psnr else None,
                float(rate),
                float(seconds),
            )
        except ValueError:
            break
        points.append(point)
    return points
