"""What all tests share: one thread a process, no Hub but the tests' own, and a folder of real photos."""

import os
import shutil
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import preloaded
import pytest
from demo_fixtures import BROWSER_TESTS, chromium, demo, photo_path

if TYPE_CHECKING:
    from initzoo.checkpoints import Init

__all__ = [
    "chromium",
    "demo",
    "photo_path",
]  # here, and not in two modules, so that one server is enough for both

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported anywhere
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # some tests import onnxruntime themselves
# Before the Hub's client is imported anywhere: no cache, token or Hub of whoever runs the tests.
_HUB_HOME = tempfile.TemporaryDirectory(prefix="initzoo-tests-")
for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING_FACE_"))]:
    del os.environ[name]
os.environ |= {"HF_HOME": _HUB_HOME.name, "HF_HUB_DISABLE_XET": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}

from initzoo.pairs import catalog_folder, photos  # noqa: E402
from initzoo.work import pool, workers  # noqa: E402

ROOT = Path(__file__).parent.parent

# Workers are forked from a server that has loaded torch, not spawned: tests start hundreds. Tests of
# the pool itself (`spawned` in test_pool.py) spawn them, as the program does.
workers.WORKER_CONTEXT = pool.WORKER_CONTEXT = preloaded.CONTEXT


def _read_once(folder: Path, entry: dict[str, str]) -> photos.Photo:
    if folder.parent != _CATALOG:
        return _read(folder, entry)
    path = folder / entry["file"]
    if path not in _kept:
        _kept[path] = _read(folder, entry)
    return replace(_kept[path], pixels=_kept[path].pixels.copy())


# The photos that come with initzoo are decoded once per process: hundreds of tests take them.
_CATALOG, _read, _kept = catalog_folder(), photos._load, dict[Path, photos.Photo]()
photos._load = _read_once


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in plain sight that nobody looked at the page: a row of letters is easily overlooked."""
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if BROWSER_TESTS in str(report.longrepr)
    ]
    if skipped:
        terminalreporter.section("the page was not tested in a browser", sep="!", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} {str(skipped[0].longrepr[2]).removeprefix('Skipped: ')}")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A short name for a long value: names go between processes, and into the environment of commands."""
    return f"{argname}-{len(val)}" if isinstance(val, str | bytes) and len(val) > 80 else None


@pytest.fixture
def photo_folder(kept_photo_folder: Path, tmp_path: Path) -> Path:
    """Three small photos, as someone's own folder of images would hold them."""
    return Path(shutil.copytree(kept_photo_folder, tmp_path / "photos"))


@pytest.fixture(scope="session")
def kept_photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photos, for tests that leave them as they are."""
    return write_photos(tmp_path_factory.mktemp("kept") / "photos")


def write_photos(folder: Path) -> Path:
    from initzoo.files.images import write_image
    from initzoo.pairs.photos import fit_short_side, load_photos

    folder.mkdir()
    for photo, name in zip(load_photos(split="score"), ("cat.png", "cup.jpg", "dahlia.webp"), strict=False):
        write_image(folder / name, fit_short_side(photo.pixels, 96), force=False)
    return folder


@pytest.fixture(scope="session")
def starter_graph(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Init, Path]":
    """A checkpoint of the starter zoo and its folder of ONNX; its tests are of the group `exports`."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from initzoo.export import export
    from initzoo.zoo import Zoo

    init = Zoo.from_pretrained("starter").pull("pencil sketch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter and its packages, on their own future
        return init, export(init, tmp_path_factory.mktemp("graphs") / "sketch", format="onnx")
