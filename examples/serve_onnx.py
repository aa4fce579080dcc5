"""Serve an exported network over HTTP, without torch and without initzoo.

    initzoo export "pencil sketch" --format onnx -o pencil-onnx
    python examples/serve_onnx.py pencil-onnx --port 8000
    curl --data-binary @photo.jpg http://127.0.0.1:8000 -o edited.png

It needs onnxruntime, Pillow, NumPy, Starlette and uvicorn.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from PIL import Image, ImageOps, UnidentifiedImageError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

parser = argparse.ArgumentParser(description="Serve an exported network.")
parser.add_argument("folder", type=Path, help="folder that `initzoo export --format onnx` wrote")
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=8000)
parser.add_argument("--max-side", type=int, default=2048, help="larger photos are shrunk, pixels")
options = parser.parse_args()

MAX_BYTES, MIN_SIDE = 20 * 2**20, 8
Image.MAX_IMAGE_PIXELS = 50_000_000  # Pillow refuses more than twice that
session = onnxruntime.InferenceSession(str(options.folder / "model.onnx"))


def edit(data: bytes) -> bytes:
    photo = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    photo.thumbnail((options.max_side, options.max_side))
    if min(photo.size) < MIN_SIDE:
        raise OSError("a strip is no photo")
    images = np.asarray(photo, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
    [edited] = session.run(None, {"images": images})
    pixels = ((edited[0].clip(-1, 1) + 1) * 127.5).round().astype(np.uint8).transpose(1, 2, 0)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


async def answer(request: Request) -> Response:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_BYTES:
            return PlainTextResponse(f"send at most {MAX_BYTES >> 20} MiB\n", 413)
    try:
        edited = await run_in_threadpool(edit, bytes(data))  # other requests go on meanwhile
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return PlainTextResponse("send a photo, for example PNG, JPEG or WebP\n", 415)
    return Response(edited, media_type="image/png")


app = Starlette(routes=[Route("/", answer, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")
