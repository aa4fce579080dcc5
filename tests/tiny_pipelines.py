"""A tiny InstructPix2Pix pipeline with random weights, in the format of diffusers: extra diffusion."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

CARD = "---\ntags:\n- image-to-image\nlicense: cc0-1.0\n---\n# A tiny pipeline\n"


def write_pipeline(folder: Path, *, is_editor: bool = True) -> Path:
    """Write the pipeline; with `is_editor` False one that makes pictures of words alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the next versions of both libraries change
        return _written(folder, is_editor)


def _written(folder: Path, is_editor: bool) -> Path:
    import diffusers
    import torch

    torch.manual_seed(0)
    kind: Any = diffusers.StableDiffusionInstructPix2PixPipeline
    kind = kind if is_editor else diffusers.StableDiffusionPipeline
    pipeline = kind(
        vae=_vae(),
        text_encoder=_text_encoder(),
        tokenizer=_tokenizer(folder.parent / f"{folder.name}-words"),
        unet=_unet(n_in=8 if is_editor else 4),
        scheduler=diffusers.EulerAncestralDiscreteScheduler(steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    return folder


def _vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=2,
    ).eval()


def _unet(n_in: int) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=(4, 8),
        layers_per_block=1,
        sample_size=32,
        in_channels=n_in,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=2,
    ).eval()


def _text_encoder() -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    settings = CLIPTextConfig(
        hidden_size=8,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=1,
        vocab_size=260,
        max_position_embeddings=16,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=257,
    )
    return CLIPTextModel(settings).eval()


def _tokenizer(folder: Path) -> Any:
    """A tokenizer that knows single letters."""
    from transformers import CLIPTokenizer

    letters = [chr(number) for number in range(33, 161)]
    words = [*letters[:128], *(letter + "</w>" for letter in letters[:128])]
    vocabulary = {word: number for number, word in enumerate(words)}
    vocabulary |= {"<|startoftext|>": 256, "<|endoftext|>": 257}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
