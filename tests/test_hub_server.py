"""The tests' own Hub answers the real client as the Hub does: every route, both kinds of repo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import READ_TOKEN, TOKEN, Fault, Hub, git_sha1, running_hub, sha256
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download, hf_hub_url
from huggingface_hub import errors as hub_errors
from huggingface_hub.hf_api import RepoFile, RepoFolder
from huggingface_hub.utils import get_session

# The client hands files to its HTTP library in a way that this one calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

BIG = bytes(range(256)) * 1200
KINDS = pytest.mark.parametrize("kind", ["model", "dataset"])


@pytest.fixture(scope="module")
def filled() -> Iterator[Hub]:
    with running_hub() as hub:
        for kind in ("model", "dataset"):
            hub_api = api(hub)
            hub_api.create_repo("me/a", repo_type=kind)
            files = {"README.md": b"---\nlicense: mit\n---\nhello", "x/y/a.safetensors": BIG, "x/b.txt": b"b"}
            hub_api.create_commit(
                "me/a",
                [CommitOperationAdd(path, data) for path, data in files.items()],
                commit_message="one",
                repo_type=kind,
            )
        yield hub


@pytest.fixture
def hub(filled: Hub) -> Iterator[Hub]:
    filled.forget()
    yield filled
    filled.forget()


def api(hub: Hub, token: str | bool = TOKEN) -> HfApi:
    return HfApi(endpoint=hub.url, token=token)


def fetched(hub: Hub, kind: str, path: str, cache: Path, revision: str = "main", **settings: object) -> bytes:
    settings = {"endpoint": hub.url, "cache_dir": cache, "token": False, **settings}
    return Path(hf_hub_download("me/a", path, repo_type=kind, revision=revision, **settings)).read_bytes()  # type: ignore[call-overload]


def test_whoami_knows_the_token(hub: Hub) -> None:
    assert api(hub).whoami()["name"] == "me"
    with pytest.raises(hub_errors.HfHubHTTPError, match="Invalid user token"):
        api(hub, "hf_wrong").whoami()


@KINDS
def test_creating_a_repo_again_is_a_conflict_unless_it_is_fine(hub: Hub, kind: str) -> None:
    assert api(hub).create_repo("me/a", repo_type=kind, exist_ok=True).repo_id == "me/a"
    with pytest.raises(hub_errors.HfHubHTTPError, match="409"):
        api(hub).create_repo("me/a", repo_type=kind)


@KINDS
def test_large_files_go_by_lfs_and_small_ones_with_the_commit(hub: Hub, kind: str) -> None:
    operations = [
        CommitOperationAdd("new.safetensors", b"new" + kind.encode()),
        CommitOperationAdd("c.txt", b"c"),
    ]
    before = hub.repo(kind, "me/a").commits[-1]
    made = api(hub).create_commit(
        "me/a", operations, commit_message="more", repo_type=kind, parent_commit=before.oid
    )
    assert made.oid == hub.repo(kind, "me/a").commits[-1].oid
    assert [one.method for one in hub.requests("^/lfs/")] == ["PUT"]
    assert len(hub.requests("lfs-verify")) == 1
    assert hub.repo(kind, "me/a").commits[-1].files["new.safetensors"] == b"new" + kind.encode()
    gone = [CommitOperationDelete("new.safetensors"), CommitOperationDelete("c.txt")]
    api(hub).create_commit("me/a", gone, commit_message="less", repo_type=kind)
    assert set(hub.repo(kind, "me/a").commits[-1].files) == set(before.files)


@KINDS
def test_a_file_that_is_there_is_not_uploaded_again(hub: Hub, kind: str) -> None:
    head = hub.repo(kind, "me/a").commits[-1].oid
    same = api(hub).create_commit(
        "me/a", [CommitOperationAdd("x/y/a.safetensors", BIG)], commit_message="same", repo_type=kind
    )
    assert same.oid == head
    assert not hub.requests("^/lfs/")


@KINDS
def test_a_commit_on_an_old_parent_is_refused(hub: Hub, kind: str) -> None:
    old = hub.repo(kind, "me/a").commits[0].oid
    with pytest.raises(hub_errors.HfHubHTTPError, match="412"):
        api(hub).create_commit(
            "me/a", [CommitOperationAdd("d", b"d")], commit_message="x", repo_type=kind, parent_commit=old
        )
    assert "d" not in hub.repo(kind, "me/a").commits[-1].files


@KINDS
def test_only_a_writer_writes(hub: Hub, kind: str) -> None:
    for token, status in ((READ_TOKEN, "403"), (False, "401")):
        with pytest.raises(hub_errors.HfHubHTTPError, match=status):
            api(hub, token).create_commit(
                "me/a", [CommitOperationAdd("d", b"d")], commit_message="x", repo_type=kind
            )


@KINDS
def test_listings_have_folders_and_are_not_recursive_unless_asked(hub: Hub, kind: str) -> None:
    top = list(api(hub).list_repo_tree("me/a", repo_type=kind))
    assert {entry.path for entry in top if isinstance(entry, RepoFolder)} == {"x"}
    assert {entry.path for entry in top if isinstance(entry, RepoFile)} == {".gitattributes", "README.md"}
    inside = {entry.path for entry in api(hub).list_repo_tree("me/a", "x", repo_type=kind)}
    assert inside == {"x/y", "x/b.txt"}
    everything = {
        entry.path: entry for entry in api(hub).list_repo_tree("me/a", repo_type=kind, recursive=True)
    }
    assert {"x", "x/y", "x/b.txt", "x/y/a.safetensors"} <= set(everything)
    large = everything["x/y/a.safetensors"]
    assert isinstance(large, RepoFile)
    assert large.lfs is not None
    assert (large.lfs.sha256, large.size) == (sha256(BIG), len(BIG))


@KINDS
def test_paths_info_names_what_is_there(hub: Hub, kind: str) -> None:
    found = api(hub).get_paths_info("me/a", ["x/b.txt", "x/y", "none"], repo_type=kind)
    assert [(type(entry), entry.path) for entry in found] == [(RepoFile, "x/b.txt"), (RepoFolder, "x/y")]
    assert isinstance(found[0], RepoFile)
    assert found[0].blob_id == git_sha1(b"b")


@KINDS
def test_tags_branches_commits_and_quoted_refs_are_revisions(hub: Hub, kind: str, tmp_path: Path) -> None:
    repo = hub.repo(kind, "me/a")
    first = repo.commits[1].oid
    api(hub).create_tag("me/a", tag="old", revision=first, repo_type=kind, exist_ok=True)
    with pytest.raises(hub_errors.HfHubHTTPError, match="409"):
        api(hub).create_tag("me/a", tag="old", repo_type=kind)
    refs = api(hub).list_repo_refs("me/a", repo_type=kind)
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"old": first}
    assert refs.branches[0].target_commit == repo.commits[-1].oid
    repo.branches["refs/pr/1"] = first
    for revision in ("old", first, "refs/pr/1"):
        assert api(hub).repo_info("me/a", repo_type=kind, revision=revision).sha == first
        assert fetched(hub, kind, "x/b.txt", tmp_path / revision.replace("/", "-"), revision) == b"b"
    assert any("%2F" in one.path or "refs/pr/1" in one.path for one in hub.requests("resolve"))


@KINDS
@pytest.mark.parametrize(("path", "is_lfs"), [("x/y/a.safetensors", True), ("x/b.txt", False)])
def test_resolve_says_commit_size_and_digest(hub: Hub, kind: str, path: str, is_lfs: bool) -> None:
    commit = hub.repo(kind, "me/a").commits[-1]
    url = hf_hub_url("me/a", path, repo_type=kind, endpoint=hub.url)
    answer = get_session().head(url)
    assert answer.headers["X-Repo-Commit"] == commit.oid
    assert int(answer.headers["Content-Length"]) == len(commit.files[path])
    if is_lfs:
        assert answer.headers["X-Linked-Etag"] == f'"{sha256(BIG)}"'
        assert int(answer.headers["X-Linked-Size"]) == len(BIG)
    else:
        assert answer.headers["ETag"] == f'"{git_sha1(b"b")}"'
    part = get_session().get(url, headers={"Range": "bytes=0-0"})
    assert (part.status_code, part.content) == (206, commit.files[path][:1])
    assert part.headers["Content-Range"] == f"bytes 0-0/{len(commit.files[path])}"
    assert get_session().get(url, headers={"Range": f"bytes={10**9}-"}).status_code == 416


@KINDS
def test_what_is_missing_has_an_error_of_its_own(hub: Hub, kind: str, tmp_path: Path) -> None:
    with pytest.raises(hub_errors.RemoteEntryNotFoundError) as missing:
        fetched(hub, kind, "none", tmp_path)
    assert missing.value.response.headers["X-Repo-Commit"] == hub.repo(kind, "me/a").commits[-1].oid
    with pytest.raises(hub_errors.RevisionNotFoundError):
        fetched(hub, kind, "x/b.txt", tmp_path, revision="none")
    with pytest.raises(hub_errors.RepositoryNotFoundError):
        api(hub).repo_info("me/none", repo_type=kind)


@KINDS
def test_private_and_gated_repos_want_a_token(hub: Hub, kind: str, tmp_path: Path) -> None:
    repo = hub.repo(kind, "me/a")
    try:
        repo.private = True
        with pytest.raises(hub_errors.RepositoryNotFoundError, match="401"):
            fetched(hub, kind, "x/b.txt", tmp_path)
        assert fetched(hub, kind, "x/b.txt", tmp_path, token=READ_TOKEN) == b"b"
        repo.private, repo.gated = False, True
        with pytest.raises(hub_errors.GatedRepoError):
            fetched(hub, kind, "README.md", tmp_path)
    finally:
        repo.private = repo.gated = False


@pytest.mark.parametrize("what", ["cut", "slow", "redirect"])
def test_faults_that_the_client_copes_with(hub: Hub, what: str, tmp_path: Path) -> None:
    hub.faults += [Fault(what, "resolve", seconds=0.05)]
    if what == "redirect":
        hub.faults += [Fault(what, "resolve", method="HEAD")]
    assert fetched(hub, "model", "x/y/a.safetensors", tmp_path, token=TOKEN) == BIG
    assert bool(hub.requests("^/elsewhere/")) == (what == "redirect")


def test_a_short_body_raises_and_a_corrupt_one_is_returned_as_success(hub: Hub, tmp_path: Path) -> None:
    hub.faults += [Fault("short", "resolve")]
    with pytest.raises(OSError, match="Consistency check failed"):
        fetched(hub, "model", "x/y/a.safetensors", tmp_path)
    hub.faults += [Fault("corrupt", "resolve")]
    assert fetched(hub, "model", "x/y/a.safetensors", tmp_path) != BIG


def test_a_busy_hub_says_how_long_to_wait(hub: Hub) -> None:
    hub.faults += [Fault("status", "/api/models/me/a", status=429, headers={"Retry-After": "1"})]
    with pytest.raises(hub_errors.HfHubHTTPError, match="429"):
        api(hub).repo_info("me/a")
    assert api(hub).repo_info("me/a").id == "me/a"
