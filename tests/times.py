"""Print how long commands take (median of five, whole processes) and how long editing takes: `make times`."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

N_RUNS = 5


def median_seconds(run: Callable[[], object]) -> float:
    """Median of five, after one run that fills the file cache."""
    run()
    times = []
    for _ in range(N_RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Time commands in a temporary folder, then the network in this process."""
    program = str(Path(sys.executable).with_name("initzoo"))
    report(f"machine: {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        importing = median_seconds(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True))
        report(f"{importing:7.3f} s          python -c 'import torch'; shares of it beside the others")
        write_photo(Path(folder) / "photo.png", 256)
        for words in (
            ["--help"],
            ["pull", "pencil sketch", "--force"],
            ["pull", "pencil sketch", "--force", "--json"],
            ["pull", "faded teal charcoal at dusk", "--force"],
            ["show", "pencil sketch"],
            ["search", "watercolour"],
            ["apply", "pencil-sketch.safetensors", "photo.png", "-o", "edited.png", "--force"],
            ["verify"],
        ):

            def run(command: list[str] = [program, *words]) -> None:  # noqa: B006 (bound now, not shared)
                subprocess.run(command, cwd=folder, check=True, capture_output=True)

            seconds = median_seconds(run)
            report(f"{seconds:7.3f} s  {seconds / importing:6.2f}  initzoo {' '.join(words)}")

    import numpy as np
    import torch

    from initzoo import AutoNetwork

    torch.set_num_threads(1)
    model = AutoNetwork.from_pretrained("pencil sketch")
    for side in (256, 1024):
        photo = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        seconds = median_seconds(lambda photo=photo: model.edit(photo))
        report(f"{seconds:7.3f} s  StarterNet.edit, {side} x {side} pixels, one core, loaded")


def write_photo(path: Path, side: int) -> None:
    """A photo that comes with initzoo, square."""
    from PIL import Image

    from initzoo.pairs import catalog_folder

    with Image.open(catalog_folder() / "photos" / "chelsea.png") as photo:
        photo.convert("RGB").resize((side, side)).save(path)


def processor() -> str:
    """The processor's name, as far as it is known."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def report(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
