"""The library's front door: names, what they do without settings, and short representations."""

from __future__ import annotations

import pydoc
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_fixtures import TOKEN, own_hub
from hub_server import Hub
from zoo_fixtures import kept_zoo

import initzoo
from initzoo import AutoNetwork, Init, Zoo, diagnose, export, finetune, harvest, push_to_hub
from initzoo.errors import InitzooError, InvalidInit, OutputError, PublishRefused
from initzoo.networks.starter import StarterNet

__all__ = ["kept_zoo", "own_hub"]

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CONCEPTS = """
licence = "CC0-1.0"
source = "a test"
[[concept]]
id = "dark"
prompts = ["dark photo"]
teacher = [{operator = "gamma", exponent = 1.5}]
[[concept]]
id = "bright"
prompts = ["bright photo"]
teacher = [{operator = "gamma", exponent = 0.5}]
"""


def photos(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (64, 72, 3), np.uint8) for _ in range(n)]


def test_every_public_name_is_there_documented_and_shown_by_help() -> None:
    text = pydoc.render_doc(initzoo)
    assert set(initzoo.__all__) <= set(dir(initzoo))
    for name in initzoo.__all__:
        assert getattr(initzoo, name).__doc__, name
        assert f"    {name} " in text, f"help(initzoo) does not list {name}"


def test_import_of_the_package_loads_no_room() -> None:
    code = "import sys, initzoo; print([name for name in sys.modules if name.startswith('initzoo.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_representations_are_a_line() -> None:
    zoo = Zoo.from_pretrained("starter")
    assert repr(zoo) == "Zoo('starter')"
    assert repr(zoo.pull("sepia")) == "Init('sepia', exact, merged, recipe 'starter-2')"


@pytest.mark.filterwarnings("ignore:example pairs. the words do not fit")
def test_finetune_needs_pairs_and_words_alone(kept_zoo: Path) -> None:
    with pytest.warns(UserWarning, match="they look like no single edit"):  # this zoo was hardly trained
        result = finetune([(photo, 255 - photo) for photo in photos(5)], "night", zoo=kept_zoo, n_steps=2)
    metadata = result.init.metadata
    assert (metadata.concept, metadata.origin, metadata.licence) == ("night", "fine-tuned", "")
    assert re.match(r"fine-tuned from (base|mean|checkpoint|mix|generated)", metadata.source)
    assert isinstance(result.network, StarterNet)


def test_finetune_goes_on_from_an_init_and_takes_a_name(kept_zoo: Path) -> None:
    pairs = [(photo, 255 - photo) for photo in photos(5)]
    first = finetune(pairs, start="night", zoo=kept_zoo, n_steps=1)
    second = finetune(pairs, start=first.init, zoo=kept_zoo, n_steps=1, name="Film Halation")
    assert second.init.metadata.concept == "film-halation"
    assert second.start == first.end
    base = finetune(pairs, start="base", zoo=kept_zoo, n_steps=0)
    assert base.init.metadata.source.startswith("fine-tuned from base")


def test_finetune_writes_nothing_without_a_run_folder(
    kept_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    finetune([(photo, photo) for photo in photos(3)], start="base", zoo=kept_zoo, n_steps=0)
    assert list(tmp_path.iterdir()) == []


def test_harvest_needs_concepts_and_a_folder_alone(tmp_path: Path, photo_folder: Path) -> None:
    (tmp_path / "looks.toml").write_text(CONCEPTS)
    recipe = (Path(initzoo.__file__).parent / "training/harvest/recipes/starter-2.toml").read_text()
    for size in ("n_detail = 64", "n_decoder = 64", "n_middle = 32"):
        recipe = recipe.replace(size, f"{size.partition(' =')[0]} = 8")
    (tmp_path / "small.toml").write_text(recipe.replace('name = "starter-2"', 'name = "small"'))
    report = harvest(
        tmp_path / "looks.toml",
        tmp_path / "zoo",
        recipe=tmp_path / "small.toml",
        photos=photo_folder,
        quick=True,
        n_workers=1,
    )
    assert report.n_checkpoints == 2
    zoo = Zoo.from_pretrained(tmp_path / "zoo")
    assert zoo.pull("dark photo").metadata.recipe.network.sizes["n_detail"] == 8
    assert zoo.verify().problems == ()


def test_diagnose_takes_a_name_or_a_network(kept_zoo: Path) -> None:
    assert diagnose("zeros", zoo=kept_zoo).verdict == "symmetric"
    assert diagnose(AutoNetwork.from_pretrained("he_normal")).verdict == "healthy"


def test_an_export_is_read_by_torch_and_by_ourselves(kept_zoo: Path, tmp_path: Path) -> None:
    init = Zoo.from_pretrained(kept_zoo).pull("night")
    state = torch.load(export(init, tmp_path / "night.pth", format="pth"), weights_only=True)
    again = AutoNetwork.from_pretrained(export(init, tmp_path / "night.safetensors"))
    assert {name: value.numpy().tobytes() for name, value in state.items()} == {
        name: value.tobytes() for name, value in init.weights.items()
    }
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
    with pytest.raises(OutputError, match="night.pth exists already"):
        export(init, tmp_path / "night.pth", format="pth")
    with pytest.raises(ValueError, match="format must be one of safetensors, pth, .*, found 'pickle'"):
        export(init, tmp_path / "a", format="pickle")
    adapter = Zoo.from_pretrained(kept_zoo).pull("night", adapter_only=True)
    with pytest.raises(InvalidInit, match="holds an adapter alone"):
        export(adapter, tmp_path / "a")


def test_a_network_is_published_and_comes_back(own_hub: Hub, tmp_path: Path) -> None:
    model = StarterNet(n_detail=8)
    told = {"licence": "MIT", "source": "Trained on ten pairs.", "token": TOKEN, "endpoint": own_hub.url}
    revision = push_to_hub(model, "me/my-look", **told)
    assert len(revision) == 40
    card = own_hub.repo("model", "me/my-look").commits[-1].files["README.md"].decode()
    assert "license: mit" in card
    assert "weights: `starter` of initzoo, n_detail 8, n_middle 32" in card
    assert "- source: Trained on ten pairs." in card
    assert push_to_hub(model, "me/my-look", **told) == revision, "nothing changed"
    again = AutoNetwork.from_pretrained("me/my-look", endpoint=own_hub.url, cache_dir=tmp_path / "cache")
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    with pytest.raises(PublishRefused, match="is not the name of a repo"):
        push_to_hub(model, "my-look")
    with pytest.raises(InitzooError, match="other"):
        AutoNetwork.from_pretrained("me/other", endpoint=own_hub.url, cache_dir=tmp_path / "cache")


def test_an_init_is_published_with_its_licence_and_source(own_hub: Hub) -> None:
    init = Init.from_model(StarterNet(n_detail=8), name="my look", licence="CC0-1.0", source="By a test.")
    push_to_hub(init, "me/look", token=TOKEN, endpoint=own_hub.url)
    card = own_hub.repo("model", "me/look").commits[-1].files["README.md"].decode()
    assert "license: cc0-1.0" in card
    assert "- look: my look\n- origin: fine-tuned\n- source: By a test.\n" in card
    push_to_hub(Zoo.from_pretrained("starter").pull("night"), "me/night", token=TOKEN, endpoint=own_hub.url)
    card = own_hub.repo("model", "me/night").commits[-1].files["README.md"].decode()
    assert "- look: night\n- origin: exact, zoo starter at revision" in card
