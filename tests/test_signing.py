"""Signed zoos: who requires a signature gets the zoo that was signed, or one line."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from cli_running import run, succeed
from hub_fixtures import hub_with_zoos, opened, own_hub, pushed, quick_retries
from hub_server import Hub
from zoo_fixtures import make_zoo, tiny_zoo

from initzoo.errors import InvalidSignature, MissingExtra
from initzoo.zoo import Zoo, plan_push
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.signing import check_signature, sign_manifest

__all__ = ["hub_with_zoos", "own_hub", "quick_retries", "tiny_zoo"]

pytestmark = [
    pytest.mark.xdist_group("signing"),  # one process of the tests imports the package
    pytest.mark.skipif(find_spec("model_signing") is None, reason="needs the extra sign"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(cryptography|sigstore|OpenSSL|tuf|pydantic).*"),
]


def make_key(folder: Path, name: str, curve: str = "SECP256R1") -> tuple[Path, Path]:
    """A private key and its public one, as openssl writes them."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(getattr(ec, curve)())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    plain = serialization.NoEncryption()
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def test_a_signed_zoo_is_pulled_with_its_key_and_with_no_other(
    own_hub: Hub, tiny_zoo: Path, tmp_path: Path, quick_retries: None
) -> None:
    private, public = make_key(tmp_path, "mine")
    report = pushed(own_hub, tiny_zoo, "me/zoo", sign_key=private, tag="v1")
    assert "zoo.json.sig" in own_hub.repo("dataset", "me/zoo").commits[-1].files
    zoo = opened(own_hub, tmp_path / "cache", "me/zoo", require_signature=public)
    expected = Zoo.from_pretrained(tiny_zoo).pull("night").weights
    assert all((value == expected[name]).all() for name, value in zoo.pull("night").weights.items())
    with pytest.raises(InvalidSignature, match="zoo 'me/zoo': its signature is not one of the key") as caught:
        opened(own_hub, tmp_path / "cache", "me/zoo", require_signature=make_key(tmp_path, "other")[1])
    assert len(str(caught.value).replace(str(tmp_path), "")) <= 300
    again = pushed(own_hub, tiny_zoo, "me/zoo", sign_key=private, tag="v1")
    assert again.tag == report.tag == "v1"  # type: ignore[attr-defined]


def test_an_unsigned_zoo_is_refused(own_hub: Hub, tiny_zoo: Path, tmp_path: Path) -> None:
    private, public = make_key(tmp_path, "mine")
    pushed(own_hub, tiny_zoo, sign_key=private)
    pushed(own_hub, tiny_zoo)
    assert "zoo.json.sig" not in own_hub.repo("dataset", "me/zoo").commits[-1].files
    with pytest.raises(InvalidSignature, match="not signed: it has no zoo.json.sig"):
        opened(own_hub, tmp_path / "cache", "me/zoo", require_signature=public)
    with pytest.raises(InvalidSignature, match="'starter' is not signed"):
        Zoo.from_pretrained("starter", require_signature=public)


def test_a_zoo_that_changed_after_it_was_signed_is_refused(tiny_zoo: Path, tmp_path: Path) -> None:
    private, public = make_key(tmp_path, "mine", "SECP384R1")
    manifest = tiny_zoo / "dataset" / "zoo.json"
    (tiny_zoo / "dataset" / "zoo.json.sig").write_bytes(sign_manifest(manifest.read_bytes(), private))
    assert Zoo.from_pretrained(tiny_zoo, require_signature=public).holds("night")
    # Another index, which is sound by itself, under the signed manifest.
    other = make_zoo(tmp_path / "other", n_per_shard=3)
    index = tiny_zoo / "dataset" / "index.parquet"
    before = index.read_bytes()
    index.write_bytes((other / "dataset" / "index.parquet").read_bytes())
    with pytest.raises(InvalidSignature, match="is not as it was signed"):
        Zoo.from_pretrained(tiny_zoo, require_signature=public)
    index.write_bytes(before)
    (tiny_zoo / "model" / "base" / "tiny" / "notes.txt").write_text("more")
    refresh_manifest(tiny_zoo)
    with pytest.raises(InvalidSignature, match="not one of the key"):
        Zoo.from_pretrained(tiny_zoo, require_signature=public)


@pytest.mark.parametrize(
    "signature", [b"", b"{}", b"[" * 900, b"\xff", b'{"dsseEnvelope": 5}', b"null", b'"' + b"x" * 9000 + b'"']
)
def test_a_hostile_signature_is_one_line(tmp_path: Path, signature: bytes) -> None:
    with pytest.raises(InvalidSignature) as caught:
        check_signature(b"{}", signature, make_key(tmp_path, "mine")[1], name="me/zoo")
    text = str(caught.value)
    assert "\n" not in text
    assert len(text.replace(str(tmp_path), "")) <= 300


def test_a_changed_payload_of_a_signature_is_refused(tmp_path: Path) -> None:
    private, public = make_key(tmp_path, "mine")
    values = json.loads(sign_manifest(b'{"a": 1}', private))
    other = json.loads(sign_manifest(b'{"a": 2}', make_key(tmp_path, "evil")[0]))
    check_signature(b'{"a": 1}', json.dumps(values).encode(), public, name="x")
    values["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]
    with pytest.raises(InvalidSignature):
        check_signature(b'{"a": 2}', json.dumps(values).encode(), public, name="x")


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"]
)
def test_a_file_that_is_no_key_is_named_before_anything_is_uploaded(
    own_hub: Hub, tiny_zoo: Path, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(InvalidSignature, match=r"key\.pem' cannot sign"):
        pushed(own_hub, tiny_zoo, sign_key=path)
    assert not own_hub.repos
    with pytest.raises(InvalidSignature, match="is no file"):
        plan_push(tiny_zoo, "me/zoo", sign_key=tmp_path / "none.pem")


def test_the_commands_sign_and_require(tiny_zoo: Path, tmp_path: Path) -> None:
    private, public = make_key(tmp_path, "mine")
    assert "zoo.json.sig" in succeed("push", tiny_zoo, "me/zoo", "--dry-run", "--sign-key", private)
    options = ("night", "--zoo", tiny_zoo, "-o", tmp_path / "a.safetensors", "--require-signature", public)
    result = run("pull", *options)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "is not signed" in result.stderr
    manifest = tiny_zoo / "dataset" / "zoo.json"
    (tiny_zoo / "dataset" / "zoo.json.sig").write_bytes(sign_manifest(manifest.read_bytes(), private))
    succeed("pull", *options)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing.signing", None)
    with pytest.raises(MissingExtra, match=r"initzoo\[sign\]"):
        sign_manifest(b"{}", make_key(tmp_path, "mine")[0])
