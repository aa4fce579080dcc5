"""Denoisers as they run: a graph in onnxruntime, which loads faster than torch, or a torch module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from initzoo.files import DamagedFile
from initzoo.work import open_graph

if TYPE_CHECKING:
    from torch import nn

__all__ = ["GRAPH_FILE", "GraphRunner", "Runner", "TorchRunner", "pad_context"]

GRAPH_FILE = "denoiser.onnx"
"""File of the graph in a weight generator's folder."""

_OWN_INPUTS = ("noised", "timesteps")
_CONTEXT_INPUTS = ("vectors", "mask", "learned", "phrase", "colours")
_THREADS = Lock()

Floats = NDArray[np.float32]


class Runner(Protocol):
    """A denoiser that runs, one request at a time."""

    def __call__(self, noised: Floats, timestep: float, context: Mapping[str, NDArray[Any]]) -> Floats:
        """Predict the clean weights.

        Args:
            noised: noised blocks, shape `(1, n_blocks, block_size)`.
            timestep: 0 to 1.
            context: result of `Encoder.arrays` for one request.

        Returns:
            Predicted clean blocks, shape of `noised`.
        """

    def weights(self) -> dict[str, NDArray[np.float16]]:
        """The weights by name."""


class GraphRunner:
    """A denoiser as an ONNX graph that takes its weights as inputs, on one thread.

    The graph has the structure alone. The weights are those of `model.safetensors`, and are stored once.

    Args:
        graph: the ONNX file.
        weights: float16 weights by name.

    Raises:
        DamagedFile: the graph cannot be read, or takes other weights.
    """

    def __init__(self, graph: bytes, weights: Mapping[str, NDArray[np.float16]]) -> None:
        try:
            self._session = open_graph(graph)
        except Exception as error:  # the library raises private exceptions
            raise DamagedFile(
                f"{GRAPH_FILE} cannot be read ({' '.join(str(error).split())[:100]})"
            ) from error
        self._weights = dict(weights)
        shapes = {one.name: tuple(one.shape) for one in self._session.get_inputs()}
        self._context = {name: shapes[name] for name in _CONTEXT_INPUTS if name in shapes}
        expected = {
            name: shape for name, shape in shapes.items() if name not in (*_OWN_INPUTS, *_CONTEXT_INPUTS)
        }
        for name in sorted({*expected, *weights}):
            found = weights[name].shape if name in weights else None
            if expected.get(name) != found:
                raise DamagedFile(
                    f"tensor 'denoiser.{name}': the graph expects {expected.get(name)}, found {found}"
                )
        self._values = {name: value.astype(np.float32) for name, value in weights.items()}

    def __call__(self, noised: Floats, timestep: float, context: Mapping[str, NDArray[Any]]) -> Floats:
        given = pad_context(context, self._context)
        inputs = {"noised": noised, "timesteps": np.array([timestep], np.float32)} | given | self._values
        result: Floats = self._session.run(None, inputs)[0]
        return result

    def weights(self) -> dict[str, NDArray[np.float16]]:
        return self._weights


class TorchRunner:
    """A denoiser as a torch module, on one thread.

    Args:
        module: the denoiser; its parameters are rounded to float16, their precision on disk, in place.
    """

    def __init__(self, module: nn.Module) -> None:
        import torch

        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(parameter.half().float())
        self._module = module.eval().requires_grad_(False)

    def __call__(self, noised: Floats, timestep: float, context: Mapping[str, NDArray[Any]]) -> Floats:
        import torch

        from initzoo.generator.encoders import Context

        with _one_thread(), torch.no_grad():
            clean = self._module(torch.from_numpy(noised), torch.full((1,), timestep), Context.of(context))
        result: Floats = clean.numpy()
        return result

    def weights(self) -> dict[str, NDArray[np.float16]]:
        return {name: value.half().numpy() for name, value in self._module.state_dict().items()}


def pad_context(
    context: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[Any]]:
    """Pad context arrays to the fixed shapes of a graph; what it does not read is left out.

    Example:
        >>> pad_context({"mask": np.ones((1, 2), bool)}, {"mask": (1, 4)})["mask"]
        array([[ True,  True, False, False]])
    """
    padded = {}
    for name, shape in shapes.items():
        array = context[name]
        missing = [(0, wanted - found) for wanted, found in zip(shape, array.shape, strict=True)]
        fill = np.nan if name == "colours" else 0
        padded[name] = np.pad(array, missing, constant_values=fill) if any(n for _, n in missing) else array
    return padded


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one torch thread within the block. Blocks of several Python threads follow each other.

    The number of threads belongs to the process, so no two blocks may set and restore it at the same time.
    """
    import torch

    with _THREADS:
        n_threads = torch.get_num_threads()
        if n_threads == 1:
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)
