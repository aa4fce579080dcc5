"""Tokens, endpoints and proxies as people have them: used when they can be, else one line without secrets."""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path

import pytest
from hub_fixtures import hub, hub_with_zoos, opened, run_program
from hub_server import READ_TOKEN, Hub
from zoo_fixtures import kept_zoo, tiny_zoo

from initzoo.errors import AccessDenied, HubUnavailable, InitzooError, InvalidZoo
from initzoo.zoo.hub import HubSettings
from initzoo.zoo.hub.addresses import without_secrets
from initzoo.zoo.zoo import Zoo

__all__ = ["hub", "hub_with_zoos", "kept_zoo", "tiny_zoo"]

# The client hands files to its HTTP library in a way that this one calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "  {} ", "\t{}"])
def test_blanks_around_a_token_go(around: str) -> None:
    assert HubSettings(token=around.format("hf_SECRET")).token == "hf_SECRET"


@pytest.mark.parametrize("token", ["", " ", "\n"])
def test_a_blank_token_is_none(token: str) -> None:
    assert HubSettings(token=token).token is None


def test_a_token_with_a_line_break_opens_a_zoo(hub: Hub, tmp_path: Path) -> None:
    zoo = opened(hub, tmp_path / "cache", token=f"{READ_TOKEN}\n", endpoint=f"{hub.url}/")
    assert len(zoo.index) > 0
    assert all("//" not in str(request) for request in hub.requests())


@pytest.mark.parametrize(
    "token", ["hf_SEC\nRET", "hf_SEC RET", "hf_SECRÉT", "hf_SEC\0RET", "“hf_SECRET”", "\ufeffhf_SECRET"]
)
def test_a_token_that_cannot_be_sent_is_named_without_its_text(token: str, tmp_path: Path) -> None:
    with pytest.raises(AccessDenied, match="the token for the Hub has") as caught:
        Zoo.from_pretrained("me/zoo", token=token, endpoint=NOBODY, cache_dir=tmp_path)
    assert "SEC" not in "".join(traceback.format_exception_only(caught.value))


@pytest.mark.parametrize("token", ["hf_SEC RET", "hf_SECRÉT", "hf_SEC\u00a0RET"])
def test_a_wrong_token_of_the_environment_is_not_printed(
    token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(AccessDenied, match="the token for the Hub has") as caught:
        Zoo.from_pretrained("me/zoo", endpoint=NOBODY, cache_dir=tmp_path)
    assert "SEC" not in "".join(traceback.format_exception(caught.value))


def test_a_token_file_that_is_not_text_is_not_printed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_bytes("hf_SECRET".encode("utf-16"))
    variables = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": NOBODY, "HF_TOKEN": ""}
    result = pull_with(tmp_path, **variables)
    assert "the file of the token for the Hub is not text" in result
    assert "SECRET" not in result.replace("\0", "")


def pull_with(folder: Path, **variables: str) -> str:
    """The line that a pull from the Hub ends with."""
    result = run_program(
        {**os.environ, "HF_HUB_CACHE": str(folder / "cache"), **variables},
        *("-m", "initzoo", "pull", "sepia", "--zoo", "me/zoo"),
        cwd=folder,
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("socks5://me:SECRET@127.0.0.1:9", r'a SOCKS proxy is set.*pip install "initzoo\[socks\]"'),
        *(
            pytest.param(proxy, said, marks=pytest.mark.long)
            for proxy, said in (
                ("socks5h://127.0.0.1:9", r'a SOCKS proxy is set.*pip install "initzoo\[socks\]"'),
                ("socks://me:SECRET@127.0.0.1:9", "Check HF_ENDPOINT, HTTP_PROXY|a SOCKS proxy is set"),
                ("http://me:SECRET@127.0.0.1:port", "Check HF_ENDPOINT, HTTP_PROXY"),
                ("ftp://me:SECRET@127.0.0.1:9", "Check HF_ENDPOINT, HTTP_PROXY"),
            )
        ),
        ("http://me:SECRET@127.0.0.1:9", "cannot reach the Hub"),
    ],
)
def test_proxies_that_do_not_work_are_one_line(proxy: str, said: str, tmp_path: Path) -> None:
    # An address that is not of this machine, so that the proxy is asked; it is never reached.
    variables = {"ALL_PROXY": proxy, "HF_ENDPOINT": "http://hub.invalid", "NO_PROXY": "", "no_proxy": ""}
    line = pull_with(tmp_path, HF_HOME=str(tmp_path / "home"), **variables)
    assert re.search(said, line), line
    assert "SECRET" not in line


@pytest.mark.parametrize(
    "endpoint", ["https://hub.example", "https://hub.example/", " https://hub.example//\n"]
)
def test_slashes_and_blanks_around_an_endpoint_go(endpoint: str) -> None:
    assert HubSettings(endpoint=endpoint).endpoint == "https://hub.example"


@pytest.mark.parametrize(
    "endpoint",
    [
        "hub.example",
        "http://me:SECRET@hub.example:port",
        "http://hub.example:99999",
        "ftp://hub.example",
        "http://",
    ],
)
def test_an_endpoint_that_is_not_an_address_is_one_line(endpoint: str) -> None:
    with pytest.raises(HubUnavailable, match="is not an address. Name one such as") as caught:
        HubSettings(endpoint=endpoint)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Illegal header value b'Bearer SECRET'", "Illegal header value b'Bearer ***'"),
        ("token hf_SECRET9 is old", "token hf_*** is old"),
        ("proxy http://me:SEC@RET@host:1/x@y", "proxy http://***@host:1/x@y"),
        (
            "nothing of the kind at https://hub.example/a@v1",
            "nothing of the kind at https://hub.example/a@v1",
        ),
    ],
)
def test_messages_lose_their_secrets(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "path",
    [
        "dataset/zoo.json",
        "dataset/index.parquet",
        "dataset/blocks/*",
        "model/base/*/config.json",
        "model/base/*/model.safetensors",
    ],
)
def test_pointers_of_a_clone_without_git_lfs_name_git_lfs(path: str, tiny_zoo: Path) -> None:
    (file, *_) = sorted(tiny_zoo.glob(path)) or sorted(tiny_zoo.glob(path.replace("*/", "")))
    file.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n")
    with pytest.raises(InitzooError, match=r"is a pointer of Git LFS.*git lfs pull") as caught:
        Zoo.from_pretrained(tiny_zoo).pull("pencil sketch")
    assert file.name in str(caught.value) or isinstance(caught.value, InvalidZoo)
