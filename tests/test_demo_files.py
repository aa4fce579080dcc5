"""Files of the demo: thumbnails that are made beforehand, and what is kept for visitors for a while."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from zoo_fixtures import tiny_zoo

from initzoo.cli.main import main
from initzoo.demo.file_store import KeptFiles
from initzoo.demo.service import Studio
from initzoo.demo.thumbnails import Thumbnails, draw_thumbnail, make_thumbnails
from initzoo.errors import InvalidZoo, OutputError
from initzoo.files.images import read_image
from initzoo.pairs.photos import fit_short_side
from initzoo.zoo.zoo import Zoo

__all__ = ["tiny_zoo"]  # fixture


def test_the_command_makes_thumbnails_where_the_demo_looks(tiny_zoo: Path) -> None:
    done = CliRunner().invoke(main, ["thumbnails", "--zoo", str(tiny_zoo), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["folder"], told["revision"]) == (
        str(tiny_zoo / "thumbnails"),
        Zoo.from_pretrained(tiny_zoo).revision,
    )
    assert Studio.open(str(tiny_zoo))[1] == ""
    again = CliRunner().invoke(main, ["thumbnails", "--zoo", str(tiny_zoo)])
    assert again.exit_code == 1
    assert "is not empty" in again.output


def test_thumbnails_are_what_checkpoints_do(tiny_zoo: Path) -> None:
    zoo = Zoo.from_pretrained(tiny_zoo)
    n_bytes = make_thumbnails(zoo, tiny_zoo / "thumbnails")
    assert n_bytes == sum(path.stat().st_size for path in (tiny_zoo / "thumbnails").iterdir())
    made = Thumbnails.load(tiny_zoo / "thumbnails")
    assert made.revision == zoo.revision
    for row in zoo.index.rows():
        small = made.get(row.concept_id)
        assert small is not None
        drawn = draw_thumbnail(zoo, row)
        assert small.shape == drawn.shape == (128, 128, 3)
        # The pictures of a tiny zoo look like noise, of which a sheet keeps the coarse part only.
        coarse = [fit_short_side(np.ascontiguousarray(pixels), 64).astype(int) for pixels in (small, drawn)]
        assert np.abs(coarse[0] - coarse[1]).mean() < 25, row.concept_id
    assert made.get("no-such-concept") is None
    with pytest.raises(OutputError, match="is not empty"):
        make_thumbnails(zoo, tiny_zoo / "thumbnails")


def test_damaged_thumbnails_are_drawn_anew_and_it_is_said(tiny_zoo: Path) -> None:
    make_thumbnails(Zoo.from_pretrained(tiny_zoo), tiny_zoo / "thumbnails")
    assert Studio.open(str(tiny_zoo))[1] == ""
    sheet = tiny_zoo / "thumbnails" / "style.avif"
    sheet.write_bytes(sheet.read_bytes()[:-1] + b"x")
    with pytest.raises(InvalidZoo, match="sheet 'style' that does not match its digest"):
        Thumbnails.load(tiny_zoo / "thumbnails")
    studio, note = Studio.open(str(tiny_zoo))
    assert "make them beforehand: initzoo thumbnails --zoo" in note
    assert studio.thumbnail("night").shape == (128, 128, 3)


def test_the_thumbnails_of_the_bundled_zoo_are_of_its_revision() -> None:
    from initzoo.pairs.concepts import catalog_folder

    zoo = Zoo.from_pretrained("starter")
    made = Thumbnails.load(catalog_folder() / "thumbnails")
    assert made.revision == zoo.revision
    assert sorted(made.places) == zoo.index.ids
    assert sum(path.stat().st_size for path in (catalog_folder() / "thumbnails").iterdir()) < 2_000_000
    for concept in zoo.index.ids[::500]:
        small = made.get(concept)
        assert small is not None
        drawn = fit_short_side(draw_thumbnail(zoo, zoo.index.row(concept)), made.side)
        assert np.abs(small.astype(int) - drawn.astype(int)).mean() < 12, concept


def test_kept_files_hold_what_they_should(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path)
    path = kept.keep_picture("a.png", np.full((8, 8, 3), 7, np.uint8))
    assert (read_image(path) == 7).all()
    path.unlink()  # swept away
    assert kept.keep_picture("a.png", np.full((8, 8, 3), 7, np.uint8)) == path
    assert path.exists()


def test_a_sweep_deletes_what_is_old_but_not_what_is_spared(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path)
    example, shown = kept.keep("example.txt", b"1"), kept.keep("shown.txt", b"2")
    (tmp_path / "cut-off-upload").write_bytes(b"3")
    assert kept.sweep(age=60, spared=frozenset([example])) == 0
    assert kept.sweep(age=-1, spared=frozenset([example])) == 2
    assert kept.all_files() == {example}
    kept.sweep(age=-1)
    assert list(tmp_path.iterdir()) == []
    assert kept.keep("shown.txt", b"2") == shown
    assert shown.read_bytes() == b"2"


def test_nobody_can_tell_by_a_name_what_others_have_sent(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    names = {KeptFiles(tmp_path / folder).keep("photo.png", b"photo").parent.name for folder in "ab"}
    assert len(names) == 2
    assert hashlib.sha256(b"photo").hexdigest()[:32] not in names


def test_kept_files_take_no_more_room_than_they_may(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, max_bytes=10_000)
    paths = [kept.keep("file", bytes([number]) * 1000) for number in range(40)]
    assert sum(path.stat().st_size for path in kept.all_files()) <= 10_000
    assert paths[-1].exists()
    assert not paths[0].exists()


def test_a_file_that_is_asked_for_again_and_again_is_not_kept_for_ever(tmp_path: Path) -> None:
    young, old = KeptFiles(tmp_path, max_age=3600), KeptFiles(tmp_path, max_age=0)
    for kept, is_renewed in ((young, True), (old, False)):
        path = kept.keep("photo.png", b"photo")
        os.utime(path, (0, 0))
        assert kept.touch(path)
        assert (path.stat().st_mtime > 0) == is_renewed
