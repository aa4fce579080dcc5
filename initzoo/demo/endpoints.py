"""The endpoints for programs, served by gradio: `/generate`, `/search`, `/download` and `/fit`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

import gradio as gr
from gradio.components.api_component import Api

from initzoo.demo.api import Answers, error_text
from initzoo.demo.calls import ENDPOINTS, Parameter
from initzoo.demo.service import N_WAITING
from initzoo.errors import InitzooError

__all__ = ["N_RUNNING", "build_endpoints"]

N_RUNNING = N_WAITING // 2
"""Number of calls of an endpoint that run or wait for a turn; refusals among them do not wait."""


def build_endpoints(answers: Answers, *, keep_seconds: int) -> gr.Blocks:
    """Build the endpoints of an open zoo; `serve` launches them.

    Args:
        answers: the answers.
        keep_seconds: seconds to keep files that were given out.
    """
    sweep = (max(1, keep_seconds // 10), keep_seconds)

    def generate(
        words: str,
        photo: dict | None = None,
        seed: int = 0,
        origin: Literal["auto", "exact", "matched", "generated"] = "auto",
    ) -> tuple[str, Any]:
        """Edit a photo with the weights that words name or that are made from them.

        Args:
            words: concept id, wording, or any words for an edit.
            photo: an uploaded photo; nothing for an example photo.
            seed: seed of generated weights.
            origin: auto, exact, matched or generated.

        Returns:
            The edited photo, a PNG file, and a description of the weights as JSON.
        """
        path, info = answers.generate(words, photo, seed, origin)
        return str(path), info

    def search(words: str, limit: int = 10) -> Any:
        """Find concepts of the zoo with wordings like some words, nearest first.

        Args:
            words: any words for an edit.
            limit: number of results, 1 to 50.

        Returns:
            The concepts, and what the words ask for that the zoo cannot do, as JSON.
        """
        return answers.search(words, limit)

    def download(
        words: str,
        seed: int = 0,
        origin: Literal["auto", "exact", "matched", "generated"] = "auto",
        form: Literal["merged", "adapter"] = "merged",
    ) -> str:
        """Make the weights a file, as `initzoo pull` writes it.

        Args:
            words: concept id, wording, or any words for an edit.
            seed: seed of generated weights.
            origin: auto, exact, matched or generated.
            form: merged for the whole network, adapter for the adapter alone.

        Returns:
            A safetensors file.
        """
        return str(answers.download(words, seed, origin, form))

    def fit(
        before: list[dict], after: list[dict], words: str = "", photo: dict | None = None
    ) -> tuple[str, Any, str]:
        """Fit weights to pairs of photos, before and after an edit, and edit another photo with them.

        Args:
            before: uploaded photos, 1 to 20.
            after: the same photos after the edit, in the same order.
            words: words for the edit; may be empty.
            photo: an uploaded photo to edit; nothing for an example photo.

        Returns:
            The edited photo, a PNG file; a description of the weights as JSON; the weights as a safetensors
            file.
        """
        picture, info, weights = answers.fit(before, after, words, photo)
        return str(picture), info, str(weights)

    with gr.Blocks(title="initzoo", analytics_enabled=False, delete_cache=sweep) as blocks:
        picture = gr.Image(visible=False, format="png", type="filepath", label="picture")
        info, concepts = gr.JSON(visible=False, label="info"), gr.JSON(visible=False, label="concepts")
        file, press = gr.File(visible=False, label="weights"), gr.Button(visible=False)
        for function, outputs in (
            (generate, [picture, info]),
            (search, [concepts]),
            (download, [file]),
            (fit, [picture, info, file]),
        ):
            name = function.__name__
            press.click(
                _polite(function),
                [_input(parameter) for parameter in ENDPOINTS[name]],
                outputs,
                api_name=name,
                preprocess=False,  # `answers` checks the values and says in one line what is wrong
                concurrency_limit=N_RUNNING,
                concurrency_id=name,
            )
    return blocks


def _input(parameter: Parameter) -> Api:
    """A parameter of an endpoint, which passes any value; `/gradio_api/info` tells its type.

    It is no class of its own: gradio writes a file of types beside the module of every such class.
    """
    # gradio reads `additional_description`, and other tools `description`.
    texts = {"description": parameter.description, "additional_description": parameter.description}
    made = Api(parameter.default, parameter.schema | texts, parameter.name)
    for name in ("example_payload", "example_value"):
        setattr(made, name, lambda: parameter.example)
    return made


def _polite(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an `InitzooError` into a message for the client."""

    @wraps(function)
    def answer(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except InitzooError as error:
            raise gr.Error(error_text(error), title="That did not work", print_exception=False) from error

    return answer
