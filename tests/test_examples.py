"""Every example runs as it is written, with few steps."""

import io
import json
import re
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from hub_fixtures import TOKEN, own_hub, program, pushed, run_program
from hub_server import Hub
from PIL import Image
from waiting import wait_until
from zoo_fixtures import kept_zoo

import initzoo
from initzoo.checkpoints import Init
from initzoo.files import read_image
from initzoo.pairs import load_concepts, load_photos, write_pairs
from initzoo.zoo import Zoo

__all__ = ["kept_zoo", "own_hub"]

EXAMPLES = Path(__file__).parent.parent / "examples"

SERVER = """
import runpy, sys
sys.modules.update(torch=None, initzoo=None)  # importing either fails
script, folder, port = sys.argv[1:]
sys.argv = [script, folder, "--port", port]
runpy.run_path(script, run_name="__main__")
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def run(name: str, *arguments: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.fixture(scope="module")
def sepia_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "pairs"
    sepia = next(concept for concept in load_concepts() if concept.id == "sepia")
    write_pairs([sepia], load_photos(split="score")[:4], folder)
    return folder


def test_own_pairs_in_plain_pytorch(
    sepia_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.safetensors"
    run(
        "own_pairs_pytorch.py",
        sepia_pairs,
        "--steps",
        "12",
        "--crop",
        "64",
        "--out",
        out,
        monkeypatch=monkeypatch,
    )
    losses = [float(found) for found in re.findall(r"loss ([\d.]+)", capsys.readouterr().out)]
    assert losses[-1] < losses[0]
    assert Init.load(out).metadata.concept == "mine"


def test_own_pairs_with_accelerate(
    sepia_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.safetensors"
    arguments = (sepia_pairs, "--start", "base", "--steps", "12", "--crop", "64", "--out", out)
    run("own_loop_accelerate.py", *arguments, monkeypatch=monkeypatch)
    losses = [float(found) for found in re.findall(r"loss ([\d.]+)", capsys.readouterr().out)]
    assert losses[-1] < losses[0]
    assert Init.load(out).metadata.concept == "mine"


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of Lightning, about torch
def test_a_lightning_module_starts_from_the_zoo(
    sepia_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = {}
    for start in ("sepia", "he_normal"):
        out = tmp_path / f"{start}.safetensors"
        arguments = (sepia_pairs, "--start", start, "--steps", "1", "--crop", "64", "--out", out)
        run("own_pairs_lightning.py", *arguments, monkeypatch=monkeypatch)
        losses[start] = float(re.findall(r"loss ([\d.]+)", capsys.readouterr().out)[-1])
        assert Init.load(out).metadata.concept == "mine"
    assert losses["sepia"] < losses["he_normal"] / 5  # of the first step, so of the start


def test_blocks_of_a_zoo_are_streamed(
    kept_zoo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("datasets")
    zoo = Zoo.from_pretrained(kept_zoo)
    run("stream_blocks.py", kept_zoo, "--split", "train", monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    ids = [row.concept_id for row in zoo.index.rows(split="train")]
    blocks = np.stack([zoo.blocks(concept_id) for concept_id in ids])  # (n, n_blocks, block_size)
    assert lines[0].endswith(f"{len(ids) * zoo.layout.n_blocks} blocks of split train")
    assert len(lines) == 1 + zoo.layout.n_blocks
    for index, line in enumerate(lines[1:]):
        values = re.fullmatch(r"block +(\d+) +(\d+) checkpoints  mean ([-+.\d]+)  spread ([.\d]+)", line)
        assert values is not None
        assert (int(values[1]), int(values[2])) == (index, len(ids))
        assert float(values[3]) == pytest.approx(blocks[:, index].mean(), abs=1e-4)
        assert float(values[4]) == pytest.approx(blocks[:, index].std(0, ddof=1).mean(), abs=1e-4)
    run("stream_blocks.py", kept_zoo, "--rows", "3", monkeypatch=monkeypatch)
    assert " 3 blocks of split train" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the Hub's client
def test_a_zoo_and_a_network_of_the_hub_are_named_with_their_revision(
    own_hub: Hub, kept_zoo: Path, sepia_pairs: Path, tmp_path: Path
) -> None:
    pytest.importorskip("datasets")
    cache = tmp_path / "cache"
    network = Zoo.from_pretrained("starter").pull("sepia").to_network()
    pushed(own_hub, kept_zoo, "me/tiny", tag="v1")
    revision = initzoo.push_to_hub(
        network, "me/sepia", licence="apache-2.0", token=TOKEN, endpoint=own_hub.url
    )
    address = f"me/sepia@{revision}"

    def run_there(name: str, *arguments: str) -> str:
        result = run_program(program(own_hub, cache), str(EXAMPLES / name), *arguments, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        return result.stdout

    zoo = Zoo.from_pretrained("me/tiny", revision="v1", endpoint=own_hub.url, cache_dir=cache)
    assert f"revision {zoo.revision}: " in run_there("stream_blocks.py", "me/tiny@v1")
    text = run_there(
        "own_pairs_pytorch.py", str(sepia_pairs), "--start", address, "--steps", "1", "--crop", "64"
    )
    loss = re.search(r"loss ([\d.]+)", text)
    assert loss is not None
    assert float(loss[1]) < 0.05, "it starts from sepia"
    options = {"endpoint": own_hub.url, "cache_dir": cache, "local_files_only": True}
    loaded = torch.hub.load(str(EXAMPLES.parent), "initzoo", concept=address, source="local", **options)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_own_pairs_with_finetune_keeps_the_better_start(
    sepia_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.safetensors"
    run("own_pairs_finetune.py", sepia_pairs, "sepia", "--steps", "2", "--out", out, monkeypatch=monkeypatch)
    assert f"sepia -> {out}" in capsys.readouterr().out
    assert Init.load(out).metadata.origin == "fine-tuned"


def test_blends_and_strengths_go_from_one_look_to_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = EXAMPLES.parent / "catalog" / "photos" / "coffee.png"
    out = tmp_path / "blends.png"
    run(
        "blend_and_strength.py",
        "night",
        "sepia",
        photo,
        "--side",
        "64",
        "--out",
        out,
        monkeypatch=monkeypatch,
    )
    sheet = read_image(out).astype(float)
    pictures = [np.split(row, 5, axis=1) for row in np.split(sheet, 2)]
    changes = [np.abs(picture - pictures[0][0]).mean() for picture in pictures[0]]
    assert changes == sorted(changes)
    assert np.array_equal(pictures[1][2], pictures[0][0])  # the first look at full strength


@pytest.mark.xdist_group("exports")
def test_an_exported_network_is_served_without_torch_and_initzoo(
    starter_graph: tuple[Init, Path], tmp_path: Path
) -> None:
    init, graph = starter_graph
    port = free_port()
    command = [
        sys.executable,
        "-c",
        SERVER,
        str(EXAMPLES / "serve_onnx.py"),
        str(graph),
        str(port),
    ]
    with subprocess.Popen(command, cwd=tmp_path) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            assert wait_until(lambda: is_open(port))
            photo = EXAMPLES.parent / "catalog" / "photos" / "coffee.png"
            with urlopen(Request(address, photo.read_bytes())) as served:
                assert (served.status, served.headers["content-type"]) == (200, "image/png")
                pixels = np.asarray(Image.open(io.BytesIO(served.read()))).astype(int)
            assert np.abs(pixels - init.to_network().edit(photo)).max() <= 1
            with pytest.raises(HTTPError) as refused:
                urlopen(Request(address, b"no photo"))
            assert refused.value.code == 415
            assert refused.value.read().startswith(b"send a photo")
        finally:
            server.terminate()


def test_torch_hub_loads_a_network() -> None:
    network = torch.hub.load(
        str(EXAMPLES.parent), "initzoo", concept="night", source="local", local_files_only=True
    )
    pulled = Zoo.from_pretrained("starter").pull("night").to_network()
    assert all(torch.equal(value, pulled.state_dict()[name]) for name, value in network.state_dict().items())


def test_thirty_looks_are_a_concepts_file() -> None:
    concepts = load_concepts(EXAMPLES / "thirty-looks.toml")
    assert len(concepts) == 30
    photo = load_photos(split="score")[0].pixels
    edited = [concept.teacher.edit([photo], [0])[1][0] for concept in concepts]
    assert len({picture.tobytes() for picture in edited}) == 30


def test_the_prompts_for_a_diffusion_model_are_a_concepts_file() -> None:
    concepts = load_concepts(EXAMPLES / "diffusion-looks.toml")
    assert len(concepts) == len({concept.teacher.id for concept in concepts}) == 150
    assert {concept.teacher.model_id for concept in concepts} == {concepts[0].teacher.model_id} != {None}
    assert sum(concept.split == "heldout-new" for concept in concepts) == 15


def code_of_the_notebook() -> list[dict[str, Any]]:
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text("utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_holds_pictures_and_no_errors() -> None:
    code = code_of_the_notebook()
    kinds = [kind for cell in code for output in cell["outputs"] for kind in output.get("data", {})]
    assert kinds.count("image/jpeg") == 5
    assert not [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
    for cell in code:
        compile("".join(cell["source"]), "tour.ipynb", "exec")


@pytest.mark.long
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = code_of_the_notebook()
    monkeypatch.chdir(tmp_path)
    whole = initzoo.finetune

    def brief(*arguments: Any, n_steps: int, **named: Any) -> Any:
        return whole(*arguments, n_steps=min(n_steps, 2), **named)

    monkeypatch.setattr(initzoo, "finetune", brief)
    space: dict[str, object] = {}
    for cell in code:
        exec(compile("".join(cell["source"]), "tour.ipynb", "exec"), space)
