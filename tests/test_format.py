"""Files outlive versions: settings may gain fields, unknown keys are ignored, newer formats are refused."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from zoo_fixtures import generating_zoo, kept_generating_zoo, tiny_zoo

import initzoo
from initzoo.errors import InitzooError
from initzoo.files.settings import write_json
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.zoo import Zoo

__all__ = ["generating_zoo", "kept_generating_zoo", "tiny_zoo"]

CONFIGS = (
    "model/base/tiny/config.json",
    "model/weight_generator/tiny/config.json",
    "model/weight_generator/tiny/calibration.json",
)
WORDS = "faded teal gold"

NEW_FIELDS = {
    "training/harvest/recipe.py": "class FitStage:",
    "generator/shape.py": "class DenoiserShape:",
    "checkpoints/recipe.py": "class Recipe:",
}
"""Settings that gain a field in a copy of the package."""

READ_ALL = """
from initzoo.training.harvest.recipe import load_recipe, recipe_of_base
from initzoo.zoo.zoo import Zoo
zoo = Zoo.from_pretrained("starter")
assert zoo.verify().problems == ()
assert zoo.recipe.newer == zoo.generator.config.shape.newer == recipe_of_base(zoo.config).fit.newer == 7
assert load_recipe("starter-2").fit.newer == 7
init = zoo.pull("pencil sketch")
assert type(init).load(__import__("sys").argv[1]).metadata.recipe.newer == 7
"""


def rewrite(path: Path, **changes: object) -> None:
    """Change keys of a JSON file."""
    path.write_bytes(json.dumps(json.loads(path.read_bytes()) | changes).encode())


@pytest.mark.long
def test_settings_may_gain_a_field_and_every_bundled_file_still_reads(tmp_path: Path) -> None:
    Zoo.from_pretrained("starter").pull("pencil sketch").save(tmp_path / "older.safetensors")
    package = Path(initzoo.__file__).parent
    copy = shutil.copytree(package, tmp_path / "initzoo", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "catalog").symlink_to(package.parent / "catalog")
    for name, start in NEW_FIELDS.items():
        source = (copy / name).read_text("utf-8")
        place = source.index(start)
        # The last field of the class, after which one with a default may stand.
        last = list(re.finditer(r"^    \w+: .*$", source[place : source.find("\nclass ", place + 1)], re.M))
        fields = [match for match in last if source[place : place + match.start()].count('"""') == 2]
        methods = source[place:].find("\n    def ")
        end = place + max(m.end() for m in fields if methods < 0 or m.end() < methods)
        (copy / name).write_text(source[:end] + "\n    newer: int = 7" + source[end:], "utf-8")
    command = [sys.executable, "-c", READ_ALL, str(tmp_path / "older.safetensors")]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, check=True)


def test_unknown_keys_are_ignored_in_every_file(generating_zoo: Path) -> None:
    before = Zoo.from_pretrained(generating_zoo).pull(WORDS, warn=False).weights
    for name in CONFIGS[:2]:
        rewrite(generating_zoo / name, newer={"deep": [1, None]})
    calibrated = json.loads((generating_zoo / CONFIGS[2]).read_bytes())
    digest = hashlib.sha256((generating_zoo / CONFIGS[1]).read_bytes()).hexdigest()
    (generating_zoo / CONFIGS[2]).write_bytes(
        write_json(calibrated | {"generator_sha256": digest, "newer": True})
    )
    refresh_manifest(generating_zoo)
    rewrite(generating_zoo / "dataset" / "zoo.json", newer="note")
    zoo = Zoo.from_pretrained(generating_zoo)
    assert zoo.verify().problems == ()
    assert all((value == before[name]).all() for name, value in zoo.pull(WORDS, warn=False).weights.items())


@pytest.mark.parametrize("name", ["dataset/zoo.json", *CONFIGS])
@pytest.mark.parametrize(
    ("version", "words"),
    [
        (3, "has format version 3, this initzoo reads 2; upgrade: "),
        (1, "has format version 1, .*; get"),
    ],
)
def test_another_format_version_is_refused_in_one_line(
    generating_zoo: Path, name: str, version: int, words: str
) -> None:
    rewrite(generating_zoo / name, format_version=version)
    if name != "dataset/zoo.json":
        refresh_manifest(generating_zoo)
    with pytest.raises(InitzooError, match=words) as caught:
        Zoo.from_pretrained(generating_zoo).pull(WORDS)
    assert "\n" not in str(caught.value)


def test_a_changed_config_is_noticed_by_the_manifest_and_accepted_on_demand(tiny_zoo: Path) -> None:
    rewrite(tiny_zoo / CONFIGS[0], licence="MIT")
    with pytest.raises(InitzooError, match=r"config.json': expected sha256 \w+, found \w+"):
        Zoo.from_pretrained(tiny_zoo).pull("night")
    assert "expected sha256" in Zoo.from_pretrained(tiny_zoo).verify().problems[0]
    refresh_manifest(tiny_zoo)
    assert Zoo.from_pretrained(tiny_zoo).verify().problems == ()


def test_a_zoo_without_a_manifest_says_how_to_get_one(tiny_zoo: Path) -> None:
    (tiny_zoo / "dataset" / "zoo.json").unlink()
    with pytest.raises(InitzooError, match=r"zoo.json': cannot be read .*initzoo verify FOLDER --accept"):
        Zoo.from_pretrained(tiny_zoo).pull("night")
