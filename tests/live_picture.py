"""Frames a second of `examples/live` in chromium with a fake camera, and its picture: `make live-picture`.

The camera of the picture pans over a bundled photo; that of the tests is chromium's own.
"""

from __future__ import annotations

import functools
import http.server
import io
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo_fixtures import CHROMIUM
from PIL import Image

from initzoo.export import PRECISIONS, export
from initzoo.pairs import load_photos
from initzoo.zoo import Zoo

LIVE = Path(__file__).parent.parent / "examples" / "live"
FAKE_CAMERA = ("--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
_PICTURE = Path(__file__).parent.parent / "catalog" / "pictures" / "live.jpg"


def set_up(folder: Path, words: str, precision: str = "float32") -> None:
    """Set the example up in a folder of its own, as its README says."""
    shutil.copytree(LIVE, folder, ignore=shutil.ignore_patterns("node_modules", "model"))
    export_model(folder, words, precision)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)


def export_model(folder: Path, words: str, precision: str) -> None:
    init = Zoo.from_pretrained("starter").pull(words)
    export(init, folder / "model", "onnx", precision=precision, force=True)


def film(path: Path, n_frames: int = 60) -> None:
    """Write a film that pans over a photo: JPEGs in a row, which chromium takes as a camera."""
    photo = Image.fromarray(load_photos(split="score")[0].pixels)
    scale = 1.2 * max(640 / photo.width, 480 / photo.height)
    photo = photo.resize((round(scale * photo.width), round(scale * photo.height)), Image.Resampling.LANCZOS)
    with path.open("wb") as file:
        for number in [*range(n_frames), *reversed(range(n_frames))]:
            left = round((photo.width - 640) * number / (n_frames - 1))
            frame = photo.crop((left, (photo.height - 480) // 2, left + 640, (photo.height + 480) // 2))
            frame.save(file, "JPEG", quality=92)


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep the terminal for the figures."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of the folder."""
    handler = functools.partial(_Silent, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def frames_a_second(page: Any, address: str) -> float:
    """Open the page, let it run for some seconds, and read the rate that it prints."""
    page.goto(address)
    page.wait_for_function("document.getElementById('status').textContent.includes('frames')", timeout=60_000)
    page.wait_for_timeout(3000)
    rate = re.match(r"([\d.]+) frames a second at 256 × 256", page.locator("#status").inner_text())
    assert rate is not None
    return float(rate[1])


def main() -> None:
    """Print the rates, and take the picture."""
    from playwright.sync_api import sync_playwright

    warnings.simplefilter("ignore")  # of torch's exporter, on its own future
    with tempfile.TemporaryDirectory() as parent, sync_playwright() as playwright:
        folder = Path(parent) / "live"
        set_up(folder, "comic")
        film(Path(parent) / "film.mjpeg")
        camera = f"--use-file-for-fake-video-capture={parent}/film.mjpeg"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FAKE_CAMERA, camera])
        with served(folder) as address:
            for precision in PRECISIONS:
                if precision != "float32":
                    export_model(folder, "comic", precision)
                page = browser.new_page(viewport={"width": 960, "height": 560})
                rate = frames_a_second(page, address)
                sys.stdout.write(f"{precision:8} {rate:5.1f} frames a second at 256 x 256, WebAssembly\n")
                sys.stdout.flush()
                if precision == "float32":
                    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                    picture.save(_PICTURE, quality=85, optimize=True)
                page.close()
        browser.close()
    sys.stdout.write(f"{_PICTURE.name}  {_PICTURE.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
