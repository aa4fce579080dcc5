"""Graphs of denoisers and image networks, with which both run without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from initzoo.errors import MissingExtra, TrainingError
from initzoo.generator import (
    MAX_PHRASE_TOKENS,
    N_COLOURS,
    Context,
    DenoiserShape,
    GeneratorConfig,
    WeightGenerator,
    build_denoiser,
)
from initzoo.networks import ImageNetwork, to_onnx

__all__ = ["add_graph", "export_denoiser", "export_network", "need_onnx", "refuse_windows"]

_OPSET = 18


def export_denoiser(kind: str, shape: DenoiserShape) -> bytes:
    """Export the structure of a denoiser as an ONNX graph for one request, which takes weights as inputs.

    Words are padded to the maximum number of tokens.

    Args:
        kind: key of the denoiser in `DENOISERS`.
        shape: its sizes.

    Returns:
        The ONNX file, for `GraphRunner`.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
        TrainingError: the denoiser reads blocks in windows.
    """
    refuse_windows(shape.n_blocks, shape.window or shape.n_blocks)
    denoiser = build_denoiser(kind, shape, seed=0).eval().requires_grad_(False)
    is_phrases = shape.encoder == "phrases"
    n_tokens = min(shape.max_tokens, MAX_PHRASE_TOKENS) if is_phrases else shape.max_tokens
    context = {
        "vectors": torch.zeros(1, n_tokens, shape.n_word_values),
        "mask": torch.ones(1, n_tokens, dtype=torch.bool),
    }
    if shape.n_learned:
        context["learned"] = torch.zeros(1, n_tokens, dtype=torch.int64)
    if shape.n_phrase_values:
        context["phrase"] = torch.zeros(1, shape.n_phrase_values)
    if shape.n_colour_values:
        context["colours"] = torch.zeros(1, N_COLOURS, shape.n_colour_values)

    def run(noised: Tensor, timesteps: Tensor, *given: Tensor) -> tuple[Any, ...]:
        return noised, timesteps, Context(**dict(zip(context, given, strict=True)))

    inputs = (torch.zeros(1, shape.n_blocks, shape.block_size), torch.ones(1), *context.values())
    return _export(denoiser, run, inputs, ["noised", "timesteps", *context], "clean")


def export_network(network: ImageNetwork) -> bytes:
    """Export the structure of an image network as an ONNX graph for one photo, which takes weights as inputs.

    Height and width are free, in multiples of those that the network takes.

    Returns:
        The ONNX file, for `GraphNetwork`.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
    """
    units = [torch.export.Dim(name, min=2, max=2**12) for name in ("rows", "columns")]
    sides = {2 + place: network.multiple * unit for place, unit in enumerate(units)}
    example = torch.zeros(1, 3, 24 * network.multiple, 32 * network.multiple)
    described = {"multiple": str(network.multiple), "halo": str(network.halo)}
    return _export(
        network.eval(),
        lambda images: (images,),
        (example,),
        ["images"],
        "edited",
        sides=sides,
        described=described,
    )


def add_graph(generator: WeightGenerator) -> WeightGenerator:
    """The same weight generator with its denoiser as a graph, so that it runs without torch.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
    """
    config: GeneratorConfig = generator.config
    return generator.with_graph(export_denoiser(config.kind, config.shape))


def need_onnx() -> None:
    """Raise if graphs cannot be written here: before hours of training, not after.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra('a graph needs onnx and onnxscript: pip install "initzoo[onnx]"') from error


def refuse_windows(n_blocks: int, window: int) -> None:
    """Raise if blocks are read in windows, each of which would be another copy of the denoiser in a graph.

    Raises:
        TrainingError: there are more blocks than in a window.
    """
    if n_blocks > window:
        raise TrainingError(
            f"an adapter of {n_blocks} blocks is read in windows of {window}, which a graph cannot do. Leave "
            "out --graph, or set a larger --window or --block-size"
        )


class _Called(nn.Module):
    """A module as a function of its inputs and its weights."""

    def __init__(self, module: nn.Module, run: Any, n_inputs: int, weights: Sequence[str]) -> None:
        super().__init__()
        self._module = [module]  # in a list, so that the graph takes no weights of its own
        self._run, self._n_inputs, self._weights = run, n_inputs, weights

    def forward(self, *given: Tensor) -> Tensor:
        weights = dict(zip(self._weights, given[self._n_inputs :], strict=True))
        result: Tensor = functional_call(self._module[0], weights, self._run(*given[: self._n_inputs]))
        return result


def _export(
    module: nn.Module,
    run: Any,
    inputs: Sequence[Tensor],
    names: Sequence[str],
    output: str,
    *,
    sides: Mapping[int, Any] | None = None,
    described: Mapping[str, str] | None = None,
) -> bytes:
    """Export a module whose weights are further inputs. `sides` are the free sides of the first input."""
    need_onnx()
    weights = {name: value.detach() for name, value in module.state_dict().items()}
    called = _Called(module, run, len(inputs), list(weights))
    given = (*inputs, *weights.values())
    free = None if sides is None else ((dict(sides), *(None for _ in given[1:])),)
    graph = to_onnx(
        called,
        given,
        input_names=[*names, *weights],
        output_name=output,
        dynamic_shapes=free,
        opset=_OPSET,
    )
    for name, value in (described or {}).items():
        graph.metadata_props.add(key=name, value=value)
    data: bytes = graph.SerializeToString()
    return data
