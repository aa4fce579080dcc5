"""Image-editing pipelines of diffusers: loading one, running it in batches, and what can go wrong."""

from __future__ import annotations

import gc
import inspect
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import AccessDenied, HubUnavailable, InitzooWarning, MissingExtra, TeacherError
from initzoo.pairs.teachers.function import one_line
from initzoo.pairs.teachers.teacher import Pixels, Refused
from initzoo.work import choose_device

if TYPE_CHECKING:
    import torch

__all__ = ["Editor", "close_editor", "open_editor"]

Values = NDArray[np.float32]

_STEPS = "num_inference_steps"
_N_STEPS = 20
"""Denoising steps, where a teacher does not say: some pipelines take 100 by default."""

_FURTHER_IMAGES = ("mask_image", "control_image")


class Editor:
    """A pipeline that edits images by words.

    Args:
        pipeline: a pipeline of diffusers, or another callable with its arguments `prompt` and `image`.
        name: name of the model in messages.
        device: where it runs.

    Raises:
        TeacherError: the pipeline edits no images.

    Example:
        >>> from types import SimpleNamespace
        >>> import torch
        >>> def darker(prompt, image, generator=None, output_type="pil"):
        ...     return SimpleNamespace(images=[np.asarray(one) / 510 for one in image])
        >>> editor = Editor(darker, name="darker", device=torch.device("cpu"))
        >>> [edited] = editor.edit("darker", [np.full((8, 8, 3), 255, np.uint8)], [0], batch_size=1)
        >>> float(edited[0, 0, 0])
        0.5
    """

    def __init__(self, pipeline: Any, *, name: str, device: torch.device) -> None:
        self._pipeline, self._name, self._device = pipeline, name, device
        self._parameters = set(inspect.signature(pipeline).parameters)
        self._limit: int | None = None
        further = [name for name in _FURTHER_IMAGES if name in self._parameters]
        lacking = [name for name in ("prompt", "image") if name not in self._parameters]
        if lacking or further:
            why = f"takes no {' and no '.join(lacking)}" if lacking else f"also wants a {further[0]}"
            raise TeacherError(
                f"model '{name}' is a {_class_of(pipeline)}, which {why}, so it cannot edit photos by words. "
                "Name an editing model such as timbrooks/instruct-pix2pix"
            )

    def check_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Check that the pipeline has arguments of these names.

        Raises:
            TeacherError: it does not have one of them.
        """
        unknown = sorted(set(arguments) - self._parameters)
        if unknown:
            raise TeacherError(
                f"model '{self._name}' is a {_class_of(self._pipeline)}, which has no argument "
                f"'{unknown[0]}'. It has {', '.join(sorted(self._parameters - {'args', 'kwargs'}))}"
            )

    def edit(
        self,
        prompt: str,
        images: Sequence[Pixels],
        seeds: Sequence[int],
        *,
        batch_size: int,
        arguments: Mapping[str, Any] | None = None,
    ) -> list[Values | Refused]:
        """Edit images of one size.

        If a batch does not fit into the memory of the device, half of it is tried, once.

        Args:
            prompt: the words.
            images: uint8 RGB, shape `(height, width, 3)`, the same for all.
            seeds: one per image.
            batch_size: number of images at once; 1 on a CPU, where more are no faster, and where the bytes of
                a picture would depend on its neighbours.
            arguments: further arguments of the pipeline.

        Returns:
            Edited images from 0 to 1, of the same shape, or why there is none.

        Raises:
            TeacherError: the pipeline raised, or did not return an image of the same size for each.
        """
        from torch import OutOfMemoryError

        chosen = dict(arguments or {})
        self.check_arguments(chosen)
        if _STEPS in self._parameters:
            chosen.setdefault(_STEPS, _N_STEPS)
        edited: list[Values | Refused] = []
        while len(edited) < len(images):
            n = 1 if self._device.type == "cpu" else min(batch_size, self._limit or batch_size)
            n = min(n, len(images) - len(edited))
            part = slice(len(edited), len(edited) + n)
            try:
                edited += self._run(prompt, images[part], seeds[part], chosen)
                continue
            except OutOfMemoryError as error:
                reason = error.with_traceback(None)  # whose frames hold the memory
            _empty_cache()
            height, width = images[0].shape[:2]
            tried = f"{self._device} has too little memory for {n} images of {width} x {height} at once"
            if n == 1 or self._limit is not None:
                raise TeacherError(
                    f"model '{self._name}': {tried}. Set a smaller side or batch in the teacher"
                ) from reason
            self._limit = n // 2
            warnings.warn(
                f"model '{self._name}': {tried}; going on with {self._limit}", InitzooWarning, stacklevel=2
            )
        return edited

    def _run(
        self, prompt: str, images: Sequence[Pixels], seeds: Sequence[int], arguments: Mapping[str, Any]
    ) -> list[Values | Refused]:
        import torch
        from PIL import Image

        height, width = images[0].shape[:2]
        sizes = {"height": height, "width": width}
        wanted = sizes if set(sizes) <= self._parameters else {}
        # Noise is drawn on the CPU, so that it is the same on all devices.
        draws = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        try:
            with torch.inference_mode(), _quiet():
                result = self._pipeline(
                    prompt=[prompt] * len(images),
                    image=[Image.fromarray(image) for image in images],
                    generator=draws,
                    output_type="np",
                    **{**wanted, **arguments},
                )
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # foreign code can raise anything
            raise TeacherError(
                f"model '{self._name}' failed on photos of {width} x {height}: {one_line(error)}"
            ) from error
        pictures = [_values_of(picture) for picture in getattr(result, "images", result)]
        if len(pictures) != len(images):
            raise TeacherError(
                f"model '{self._name}' returned {len(pictures)} pictures for {len(images)} photos. Set batch "
                "= 1 in the teacher"
            )
        flags = getattr(result, "nsfw_content_detected", None) or [False] * len(images)
        edited: list[Values | Refused] = []
        for picture, is_flagged in zip(pictures, flags, strict=True):
            if picture.shape != (height, width, 3):
                found = " x ".join(str(length) for length in picture.shape[1::-1])
                raise TeacherError(
                    f"model '{self._name}' returned a picture of {found} for a photo of {width} x {height}. "
                    "Name a model that keeps the size, or another side in the teacher"
                )
            if is_flagged:
                edited.append(Refused("black, by the safety checker of the model"))
            else:
                edited.append(picture if np.isfinite(picture).all() else Refused("not a number"))
        return edited


@lru_cache(maxsize=1)
def open_editor(model: str, revision: str | None, name: str) -> Editor:
    """Load a pipeline, in bfloat16 on a CUDA device. One is kept in memory.

    Args:
        model: folder, or id on the Hub.
        revision: branch, tag or commit on the Hub.
        name: name of the model in messages.

    Raises:
        MissingExtra: diffusers or transformers is not installed.
        AccessDenied: the model is gated or private, and the token is missing or may not read it.
        HubUnavailable: the model is not on this machine, and the Hub is out of reach or off.
        TeacherError: there is no such model, it cannot be loaded, or it edits no images.
    """
    import torch

    with _quiet():
        try:
            import transformers

            transformers.utils.logging.set_verbosity_error()
            transformers.utils.logging.disable_progress_bar()
            import diffusers
        except ImportError as error:
            raise MissingExtra(
                f"the teacher '{name}' needs diffusers and transformers. Install them with: "
                'pip install "initzoo[diffusion]"'
            ) from error
        diffusers.utils.logging.set_verbosity_error()
        diffusers.utils.logging.disable_progress_bar()
        device = choose_device("auto")
        try:
            # Weights in other files than safetensors would be unpickled.
            pipeline = diffusers.DiffusionPipeline.from_pretrained(
                model,
                revision=revision,
                use_safetensors=True,
                dtype=torch.bfloat16 if device.type == "cuda" else torch.float32,
            ).to(device)
        except torch.OutOfMemoryError as error:
            raise TeacherError(f"model '{name}' does not fit into the memory of {device}") from error
        except Exception as error:  # foreign code can raise anything
            raise _explained(error, model, revision, name) from error
        pipeline.set_progress_bar_config(disable=True)
    return Editor(pipeline, name=name, device=device)


def close_editor() -> None:
    """Free the memory of the pipeline that `open_editor` keeps."""
    open_editor.cache_clear()
    _empty_cache()


def _explained(
    error: Exception, model: str, revision: str | None, name: str
) -> TeacherError | AccessDenied | HubUnavailable:
    """The reason why a model could not be loaded, in one line."""
    kinds = {type(one).__name__ for one in _chain(error)}
    if not os.path.isdir(model):
        if "GatedRepoError" in kinds:
            return AccessDenied(
                f"model '{name}' is gated. Accept its conditions at https://huggingface.co/{model}, then log "
                "in with: hf auth login, or set HF_TOKEN"
            )
        if "RevisionNotFoundError" in kinds:
            return TeacherError(f"model '{name}' has no revision '{revision}'. Name another one")
        if "RepositoryNotFoundError" in kinds:
            return TeacherError(
                f"there is no model '{name}' on the Hub, or it is private. Check the name, or set HF_TOKEN"
            )
        if kinds & {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectError", "ConnectionError"}:
            return HubUnavailable(
                f"model '{name}' is not on this machine, and the Hub is out of reach or off. Check the "
                "connection and HF_HUB_OFFLINE"
            )
    return TeacherError(
        f"model '{name}' cannot be loaded as a pipeline of diffusers: {one_line(error)}. Expected "
        "model_index.json and safetensors files"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _values_of(picture: Any) -> Values:
    """A picture as values from 0 to 1; some pipelines return PIL images whatever they are asked for."""
    array = np.asarray(picture)
    scale = np.float32(255 if array.dtype == np.uint8 else 1)
    return np.asarray(array.astype(np.float32) / scale, np.float32)


def _class_of(pipeline: Any) -> str:
    return str(getattr(pipeline, "__name__", type(pipeline).__name__))


def _empty_cache() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _quiet() -> Iterator[None]:
    """Both libraries warn of what their next versions change, which no user of a teacher can help."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
