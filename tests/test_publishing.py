"""Publishing: one commit a repo, only what changed, nothing that is unfit, and no half a zoo for readers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hub_fixtures import READ_TOKEN, TOKEN, hub, hub_with_zoos, opened, own_hub, pushed, quick_retries
from hub_server import Fault, Hub
from starlette.requests import Request
from zoo_fixtures import TINY_CONCEPTS, make_zoo, tiny_zoo

from initzoo.errors import AccessDenied, HubUnavailable, PublishRefused, UnknownZoo
from initzoo.zoo.manifest import MANIFEST_FILE, Manifest
from initzoo.zoo.publish import PushReport, push_zoo
from initzoo.zoo.zoo import Zoo

__all__ = ["hub", "hub_with_zoos", "own_hub", "quick_retries", "tiny_zoo"]

# The client hands files to its HTTP library in a way that this one calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def push(hub: Hub, folder: Path, **options: object) -> PushReport:
    report = pushed(hub, folder, **options)
    assert isinstance(report, PushReport)
    return report


def test_a_push_is_one_commit_a_repo_and_the_dataset_names_the_model(own_hub: Hub, tiny_zoo: Path) -> None:
    report = push(own_hub, tiny_zoo, message="the first")
    dataset, model = (own_hub.repo(kind, "me/zoo") for kind in ("dataset", "model"))
    assert [commit.message for commit in dataset.commits] == ["initial commit", "the first"]
    assert [commit.message for commit in model.commits] == ["initial commit", "the first"]
    files = dataset.commits[-1].files
    manifest = Manifest.from_bytes(files[MANIFEST_FILE])
    assert (manifest.model_repo, manifest.model_revision) == ("me/zoo", model.commits[-1].oid)
    assert (report.revision, report.model_revision) == (dataset.commits[-1].oid, model.commits[-1].oid)
    for path, file in manifest.dataset_files.items():
        assert len(files[path]) == file.n_bytes
        assert files[path] == (tiny_zoo / "dataset" / path).read_bytes()
    assert report.n_uploaded == len(files) + len(model.commits[-1].files) - 2
    assert not dataset.private


def test_a_second_push_uploads_only_what_changed(own_hub: Hub, tiny_zoo: Path, tmp_path: Path) -> None:
    first = push(own_hub, tiny_zoo)
    own_hub.forget()
    again = push(own_hub, tiny_zoo)
    assert replace(again, n_uploaded=0, n_bytes=0) == replace(
        first, n_uploaded=0, n_bytes=0, n_unchanged=first.n_uploaded
    )
    assert (again.n_uploaded, again.n_bytes) == (0, 0)
    assert own_hub.requests("commit|lfs") == []
    fewer = make_zoo(tmp_path / "fewer", concepts=TINY_CONCEPTS[:4])
    third = push(own_hub, fewer)
    assert third.model_revision == first.model_revision
    assert third.n_removed == 1  # the second shard
    uploaded = own_hub.repo("dataset", "me/zoo").commits[-1].files
    assert "blocks/blocks-00001.safetensors" not in uploaded
    assert [one.method for one in own_hub.requests("^/lfs/")] == [
        "PUT"
    ]  # the index; the first shard is the same


@pytest.mark.parametrize(
    "path", ["preupload", "/lfs/", "lfs-verify", "/api/models/.*/commit", "/api/datasets/.*/commit", "tag"]
)
def test_a_push_that_stops_anywhere_shows_nothing_and_is_completed_by_another(
    own_hub: Hub,
    tiny_zoo: Path,
    tmp_path: Path,
    quick_retries: None,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    push(own_hub, make_zoo(tmp_path / "old", concepts=TINY_CONCEPTS[:2]))
    before = opened(own_hub, tmp_path / "cache", "me/zoo").pull("pencil sketch").weights
    method = "PUT" if path == "/lfs/" else "POST"
    own_hub.faults += [Fault("status", path, times=-1, status=400, method=method)]
    with pytest.raises(HubUnavailable):
        push(own_hub, tiny_zoo, tag="v2")
    own_hub.forget()
    zoo = opened(own_hub, tmp_path / "other", "me/zoo")
    assert set(zoo.pull("pencil sketch").weights) == set(before)
    assert zoo.verify().problems == ()
    report = push(own_hub, tiny_zoo, tag="v2")
    assert own_hub.repo("dataset", "me/zoo").tags == {"v2": report.revision}
    assert own_hub.repo("model", "me/zoo").tags == {"v2": report.model_revision}
    assert opened(own_hub, tmp_path / "third", "me/zoo@v2").verify().n_checkpoints == len(TINY_CONCEPTS)


def test_no_reader_sees_half_a_zoo(own_hub: Hub, tiny_zoo: Path, tmp_path: Path) -> None:
    """Whatever request a push has come to, a reader gets the old zoo or the new one, whole."""
    push(own_hub, make_zoo(tmp_path / "old", concepts=TINY_CONCEPTS[:2]))
    seen: set[int] = set()
    dataset, model = own_hub.repo("dataset", "me/zoo"), own_hub.repo("model", "me/zoo")

    def read(request: Request) -> None:
        files = dataset.commits[-1].files
        manifest = Manifest.from_bytes(files[MANIFEST_FILE])
        commit = model.at(manifest.model_revision)
        assert commit is not None
        assert set(manifest.model_files) <= set(commit.files)
        for path, file in manifest.dataset_files.items():
            assert len(files[path]) == file.n_bytes
        seen.add(len(manifest.dataset_files))

    own_hub.before = read
    push(own_hub, tiny_zoo)
    own_hub.before = None
    read(None)  # type: ignore[arg-type]
    assert seen == {2, 3}


def test_someone_elses_push_meanwhile_is_not_overwritten(own_hub: Hub, tiny_zoo: Path) -> None:
    push(own_hub, tiny_zoo)
    dataset = own_hub.repo("dataset", "me/zoo")

    def interfere(request: Request) -> None:
        if "/commit/" in request.url.path and "datasets" in request.url.path:
            dataset.commit({**dataset.commits[-1].files, "note.txt": b"mine"}, "theirs")

    dataset.commit({**dataset.commits[-1].files, MANIFEST_FILE: b"old"}, "something older")
    own_hub.before = interfere
    with pytest.raises(PublishRefused, match="'me/zoo': somebody else published to it meanwhile"):
        push(own_hub, tiny_zoo)
    own_hub.before = None
    assert dataset.commits[-1].files["note.txt"] == b"mine"
    push(own_hub, tiny_zoo)
    assert dataset.commits[-1].files["note.txt"] == b"mine", "what is not the zoo's is left alone"


def test_tags_do_not_move(own_hub: Hub, tiny_zoo: Path, tmp_path: Path) -> None:
    first = push(own_hub, tiny_zoo, tag="v1")
    assert push(own_hub, tiny_zoo, tag="v1").revision == first.revision
    other = make_zoo(tmp_path / "other", concepts=TINY_CONCEPTS[:2])
    own_hub.forget()
    with pytest.raises(
        PublishRefused, match="tag 'v1' names revision .* tags do not move. Choose another tag"
    ):
        push(own_hub, other, tag="v1")
    assert own_hub.requests("commit|lfs") == []
    assert push(own_hub, other, tag="v2").tag == "v2"
    old, new = (opened(own_hub, tmp_path / "cache", f"me/zoo@{tag}") for tag in ("v1", "v2"))
    assert (len(old.index), len(new.index)) == (len(TINY_CONCEPTS), 2)


def test_private_repos_are_made_private_and_public_ones_are_not_taken_for_private(
    own_hub: Hub, tiny_zoo: Path
) -> None:
    push(own_hub, tiny_zoo, private=True)
    assert own_hub.repo("dataset", "me/zoo").private
    assert own_hub.repo("model", "me/zoo").private
    push(own_hub, tiny_zoo)
    assert own_hub.repo("dataset", "me/zoo").private
    push(own_hub, tiny_zoo, repo="me/open")
    with pytest.raises(PublishRefused, match="model repo 'me/open' is public already"):
        push(own_hub, tiny_zoo, repo="me/open", private=True)


@pytest.mark.parametrize("name", ["licence", "source"])
def test_rows_without_licence_or_source_are_not_published(own_hub: Hub, tmp_path: Path, name: str) -> None:
    folder = make_zoo(tmp_path / "zoo", change=lambda rows: [replace(rows[0], **{name: " "}), *rows[1:]])
    with pytest.raises(
        PublishRefused, match=f"concept 'pencil-sketch': it has no {name}. Give its concept one"
    ):
        push(own_hub, folder)
    assert own_hub.seen == []


def test_a_damaged_zoo_is_not_published(own_hub: Hub, tiny_zoo: Path) -> None:
    shard = tiny_zoo / "dataset/blocks/blocks-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(PublishRefused, match="is damaged: .*See all: initzoo verify"):
        push(own_hub, tiny_zoo)
    assert own_hub.seen == []


@pytest.mark.parametrize("repo", ["zoo", "me/zoo@v1", "me/../zoo", "", "a b/c"])
def test_odd_names_of_repos_are_refused(own_hub: Hub, tiny_zoo: Path, repo: str) -> None:
    with pytest.raises(PublishRefused, match="is not the name of a repo. Write owner/name"):
        push(own_hub, tiny_zoo, repo=repo)
    with pytest.raises(UnknownZoo):
        push(own_hub, tiny_zoo / "none")


def test_a_token_that_may_not_write_is_said(own_hub: Hub, tiny_zoo: Path) -> None:
    for token in (READ_TOKEN, "hf_wrong"):
        with pytest.raises(AccessDenied, match="model repo 'me/zoo': the Hub refused .* hf auth login"):
            push_zoo(tiny_zoo, "me/zoo", token=token, endpoint=own_hub.url)
    assert push_zoo(tiny_zoo, "me/zoo", token=TOKEN, endpoint=own_hub.url).n_uploaded


def test_cards_have_what_the_hub_and_a_reader_need(hub: Hub) -> None:
    from huggingface_hub import DatasetCard, ModelCard

    text = hub.repo("dataset", "me/tiny").commits[-1].files["README.md"].decode()
    card = DatasetCard(text)
    assert card.data.library_name == "initzoo"
    assert card.data.license == "cc0-1.0"
    assert "initzoo" in card.data.tags
    assert card.data.configs == [{"config_name": "default", "data_files": "index.parquet"}]
    for words in (
        "--zoo me/tiny",
        'load_dataset("me/tiny"',
        "hf://datasets/me/tiny/index.parquet",
        "27.50 / 0.912",
    ):
        assert words in text
    text = hub.repo("model", "me/tiny").commits[-1].files["README.md"].decode()
    model = ModelCard(text)
    assert (model.data.library_name, model.data.pipeline_tag) == ("initzoo", "image-to-image")
    assert model.data.datasets == ["me/tiny"]


def test_the_duckdb_queries_of_documentation_and_card_run(hub: Hub, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    files = hub.repo("dataset", "me/tiny").commits[-1].files
    (tmp_path / "index.parquet").write_bytes(files["index.parquet"])
    page = (Path(__file__).parent.parent / "docs" / "publish.md").read_text("utf-8")
    queries = re.findall(r"```sql\n(.*?)```", page + files["README.md"].decode(), re.DOTALL)
    assert len(queries) == 2
    for query in queries:
        local = re.sub(r"'hf://datasets/[^']*/index.parquet'", f"'{tmp_path}/index.parquet'", query)
        assert local != query
        assert duckdb.sql(local).fetchall()


def test_a_generator_is_published_with_the_model(
    own_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo_fixtures import add_generator

    folder = make_zoo(tmp_path / "zoo")
    add_generator(folder)
    monkeypatch.setattr("initzoo.zoo.cards.generator_section", lambda folder: "")  # needs a real evaluation
    expected = Zoo.from_pretrained(folder).pull("navy fog", seed=3)
    push(own_hub, folder)
    zoo = opened(own_hub, tmp_path / "cache", "me/zoo")
    own_hub.forget()
    assert zoo.has_generator
    assert own_hub.requests("weight_generator") == [], "nothing of it is fetched before it is needed"
    init = zoo.pull("navy fog", seed=3)
    for name, values in expected.weights.items():
        assert (init.weights[name] == values).all()
    assert init.metadata.origin == "generated"
    assert zoo.verify().problems == ()
