"""Windows of blocks, for adapters with more blocks than one attention can read at once.

Neighbouring windows overlap. In the middle of an overlap the prediction passes from one window to the next:
its weights rise and fall linearly over some blocks, so that no border can be seen.

    window 0   1 1 1 1 1 1 .8 .6 .4 .2 . .
    window 1               .2 .4 .6 .8 1 1 1 1 1 1
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["draw_window", "read_in_windows", "window_starts"]


def window_starts(n_blocks: int, window: int, overlap: int) -> list[int]:
    """The first block of each window: as few windows as overlap enough, evenly spaced.

    Args:
        n_blocks: number of blocks, at least `window`.
        window: blocks per window.
        overlap: blocks that neighbouring windows share at least.

    Example:
        >>> window_starts(20, 8, 2)
        [0, 6, 12]
        >>> window_starts(8, 8, 2)
        [0]
    """
    n_steps = -(-(n_blocks - window) // (window - overlap))
    return [(n_blocks - window) * step // max(1, n_steps) for step in range(n_steps + 1)]


def read_in_windows(
    read: Callable[[Tensor, int], Tensor], noised: Tensor, *, window: int, overlap: int
) -> Tensor:
    """Read blocks in windows, and blend what neighbouring windows predict.

    Memory is that of one window, besides the result. So it is in training, where each window is read again
    in the backward pass.

    Args:
        read: predicts the blocks of a window from noised ones, given the number of its first block.
        noised: noised blocks, shape `(batch, n_blocks, block_size)`.
        window: blocks per window.
        overlap: blocks over which the prediction passes from one window to the next, at most a third of
            `window`.

    Returns:
        Predictions, shape of `noised`.

    Source:
        Bar-Tal et al. (2023), MultiDiffusion, arXiv:2302.08113: windows agree in every timestep, since
        predictions are joined before the next one.

    Example:
        >>> blocks = torch.arange(20.0)[None, :, None]
        >>> bool((read_in_windows(lambda part, first: part, blocks, window=8, overlap=2) == blocks).all())
        True
    """
    starts = window_starts(noised.shape[1], window, overlap)
    ramp = torch.arange(1, overlap + 1, device=noised.device)[:, None] / (overlap + 1)
    pieces: list[Tensor] = []
    before: Tensor | None = None
    begin = 0  # of the blocks that are still to be predicted
    for number, start in enumerate(starts):
        part = noised[:, start : start + window]
        if torch.is_grad_enabled():
            predicted = checkpoint(read, part, start, use_reentrant=False, preserve_rng_state=False)
        else:
            predicted = read(part, start)
        if before is not None:
            shared = predicted[:, begin - start : begin - start + overlap]
            pieces.append(torch.lerp(before, shared, ramp.to(shared)))
            begin += overlap
        if number + 1 == len(starts):
            pieces.append(predicted[:, begin - start :])
            break
        # The middle of the overlap with the next window, where both see blocks on all sides.
        pass_on = (starts[number + 1] + start + window - overlap) // 2
        pieces.append(predicted[:, begin - start : pass_on - start])
        before = predicted[:, pass_on - start : pass_on - start + overlap]
        begin = pass_on
    return torch.cat(pieces, dim=1)


def draw_window(n_blocks: int, window: int, draw: Callable[[int], int]) -> int:
    """Draw the first block of a window to train on.

    A window that would reach beyond the first or last block is moved inwards, so that these blocks are drawn
    about as often as others.

    Args:
        n_blocks: number of blocks.
        window: blocks per window.
        draw: draws a number from 0 to below its argument.

    Example:
        >>> [draw_window(20, 8, lambda n: place) for place in (0, 4, 5, 15, 20)]
        [0, 0, 1, 11, 12]
    """
    margin = window // 2
    return min(max(draw(n_blocks - window + 2 * margin + 1) - margin, 0), n_blocks - window)
