"""Signatures of zoos, by OpenSSF `model-signing`, for readers who choose to ask for one.

What is signed is `zoo.json`, which has the digest of every other file. The signature lies beside it, as
`zoo.json.sig`: a Sigstore bundle that the command `model_signing` reads too. Keys are elliptic curve keys as
PEM files; nothing is sent anywhere.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from initzoo.errors import InvalidSignature, MissingExtra
from initzoo.files import DamagedFile, check_depth, is_file, read_file, temporary_folder
from initzoo.zoo.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest

if TYPE_CHECKING:
    from initzoo.zoo.folder import ZooFiles

__all__ = ["check_signature", "require_signature", "sign_again", "sign_manifest"]

_MAX_KEY_BYTES = 2**16


def sign_manifest(manifest: bytes, key: Path) -> bytes:
    """Sign the content of `zoo.json`.

    Args:
        manifest: the content.
        key: PEM file of a private key of the curve P-256, P-384 or P-521, without a password.

    Returns:
        The content of `zoo.json.sig`. It is another each time.

    Raises:
        MissingExtra: model-signing is not installed.
        InvalidSignature: the file is no such key.
    """
    package = _package("signing")
    _check_key(key)

    def sign(folder: Path, signature: Path) -> None:
        package.Config().use_elliptic_key_signer(private_key=key).sign(folder, signature)

    try:
        return _in_folder(manifest, b"", sign)
    except Exception as error:  # the package raises plain errors of several libraries
        raise InvalidSignature(
            f"'{key}' cannot sign ({_reason(error)}). Give the private key of a pair that was made with: "
            "openssl ecparam -name prime256v1 -genkey -noout -out KEY"
        ) from error


def check_signature(manifest: bytes, signature: bytes, key: Path, *, name: str) -> None:
    """Check that the content of `zoo.json` was signed with the private key of a public one.

    Args:
        manifest: the content.
        signature: the content of `zoo.json.sig`.
        key: PEM file of the public key.
        name: name of the zoo.

    Raises:
        MissingExtra: model-signing is not installed.
        InvalidSignature: it was not, or a file cannot be read.
    """
    package = _package("verifying")
    _check_key(key)

    def verify(folder: Path, path: Path) -> None:
        package.Config().use_elliptic_key_verifier(public_key=key).verify(folder, path)

    try:
        check_depth(signature)
        _in_folder(manifest, signature, verify)
    except Exception as error:  # the package raises plain errors of several libraries
        raise InvalidSignature(
            f"zoo '{name}': its signature is not one of the key '{key}' over this zoo ({_reason(error)}). "
            "Ask its publisher for the key, and whether the zoo is theirs"
        ) from error


def sign_again(manifest: bytes, key: Path, signed: tuple[bytes, bytes] | None) -> bytes:
    """Sign the content of `zoo.json`, or return its old signature, so that a second push changes nothing.

    Args:
        manifest: the content.
        key: as for `sign_manifest`.
        signed: content and signature that were published before, if any.

    Raises:
        MissingExtra, InvalidSignature: as for `sign_manifest`.
    """
    if signed is not None and signed[0] == manifest:
        from cryptography.hazmat.primitives import serialization

        try:
            public = serialization.load_pem_private_key(key.read_bytes(), None).public_key()
            text = public.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            with temporary_folder() as folder:
                (folder / "key.pub").write_bytes(text)
                check_signature(manifest, signed[1], folder / "key.pub", name="")
            return signed[1]
        except (InvalidSignature, ValueError, TypeError, OSError):
            return sign_manifest(manifest, key)
    return sign_manifest(manifest, key)


def require_signature(files: ZooFiles, key: Path) -> None:
    """Check the signature of a zoo, and that its files are those that were signed.

    Of a zoo on the Hub, each file is compared with `zoo.json` as it arrives; those of a folder are read now.

    Args:
        files: the files of the zoo.
        key: PEM file of the public key.

    Raises:
        MissingExtra, InvalidSignature: as for `check_signature`, or the zoo is not signed.
    """
    _package("verifying")
    signed = files.signed()
    if signed is None:
        raise InvalidSignature(
            f"zoo '{files.name}' is not signed: it has no {SIGNATURE_FILE}. Ask its publisher for a "
            "signature, or leave out --require-signature"
        )
    manifest, signature = signed
    check_signature(manifest, signature, key, name=files.name)
    if Manifest.from_bytes(manifest) != files.manifest:
        raise InvalidSignature(f"zoo '{files.name}': {MANIFEST_FILE} changed while it was read. Try again")
    if files.revision is None and (problems := files.verify().problems):
        raise InvalidSignature(f"zoo '{files.name}' is not as it was signed: {problems[0][:150]}")


def _package(part: str) -> Any:
    """A module of model-signing."""
    try:
        from importlib import import_module

        return import_module(f"model_signing.{part}")
    except ImportError as error:
        raise MissingExtra(
            'signatures need model-signing. Install it with: pip install "initzoo[sign]"'
        ) from error


def _check_key(key: Path) -> None:
    try:
        if not is_file(key):
            raise DamagedFile("is no file")
        read_file(key, max_bytes=_MAX_KEY_BYTES)
    except DamagedFile as error:
        raise InvalidSignature(f"key '{key}' {error}. Give the PEM file of a key") from error


def _in_folder(manifest: bytes, signature: bytes, work: Callable[[Path, Path], object]) -> bytes:
    """Call a function with a folder that holds `zoo.json` alone, and the path of its signature."""
    with temporary_folder() as outer:
        folder, path = outer / "zoo", outer / SIGNATURE_FILE
        folder.mkdir()
        (folder / MANIFEST_FILE).write_bytes(manifest)
        path.write_bytes(signature)
        with redirect_stdout(io.StringIO()):  # it prints warnings
            work(folder, path)
        return path.read_bytes()


def _reason(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:100]
