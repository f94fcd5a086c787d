"""The one-file `.lampq` container: any changed, added or missing byte is found before anything in it is used.

Layout (`docs/artifact.md` has it byte by byte): the line `LAMPQ 1`, the line with the hex sha256 of everything after it,
the manifest's length as 8 bytes little-endian, the manifest as JSON, then the sections, each at a multiple of 64 bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lampq_tvm.artifact.manifest import PAYLOAD, check_manifest
from lampq_tvm.errors import CorruptError, UnsupportedError
from lampq_tvm.files import NEWER_HINT, loads_json, read_bytes, reason
from lampq_tvm.store import write_atomic

MAGIC = b"LAMPQ 1\n"
VERSION = re.compile(rb"LAMPQ ([1-9])\n")
SCHEMA = 1
HEAD = len(MAGIC) + 65  # the magic line and the digest line
ALIGN = 64
MAX_FILE_BYTES = 8 << 30
MAX_MANIFEST_BYTES = 64 << 20
MAX_SECTIONS = 64
NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,63}")
HINT = "compile it again or copy it again"


@dataclass(frozen=True)
class Artifact:
    """What is in a container.

    Attributes:
        manifest: what `write_artifact` was given, with `schema` and `sections` (name, offset, size, sha256) added.
        sections: content by name.
        size_bytes: of the whole file.
    """

    manifest: dict[str, Any]
    sections: dict[str, bytes]
    size_bytes: int

    @property
    def described(self) -> dict[str, Any]:
        """The manifest as `write_artifact` was given it."""
        return {k: v for k, v in self.manifest.items() if k not in ("schema", "sections")}

    @property
    def payload_digest(self) -> str:
        """Hex sha256 of its constants: of what the network computes, whatever it was compiled for."""
        return str(next(row["sha256"] for row in self.manifest["sections"] if row["name"] == PAYLOAD))


def write_artifact(path: Path | str, sections: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """Write a container, whole or not at all; equal input gives equal bytes.

    Args:
        path: the file.
        sections: content by name (lower-case letters, digits, `_`, `-` and `.`).
        manifest: JSON values.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomic(Path(path), pack(sections, manifest))


def pack(sections: Mapping[str, bytes], manifest: Mapping[str, Any]) -> bytes:
    """The container's bytes."""
    offset = 0
    rows: list[dict[str, Any]] = []
    for name, content in sorted(sections.items()):
        if not NAME.fullmatch(name) or len(rows) == MAX_SECTIONS:
            raise ValueError(f"section name {name!r} or number of sections not allowed")
        rows.append({"name": name, "offset": offset, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
        offset = _aligned(offset + len(content))
    full = {**manifest, "schema": SCHEMA, "sections": rows}
    text = json.dumps(full, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (_aligned(HEAD + 8 + len(text)) - HEAD - 8 - len(text))
    body = len(text).to_bytes(8, "little") + text
    body += b"".join(c + bytes(_aligned(len(c)) - len(c)) for _, c in sorted(sections.items()))
    return MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def read_artifact(path: Path | str) -> Artifact:
    """Read and check a container and what it says of itself (`artifact/manifest.py`).

    Raises:
        UsageError: there is no such file.
        CorruptError: it is not, byte for byte, what `write_artifact` wrote, or its parts do not fit together.
        UnsupportedError: it is whole but made by a newer version.
    """
    path = Path(path)
    raw = read_bytes(path, "the artifact", MAX_FILE_BYTES, broken=CorruptError, hint="give an artifact, a .lampq file")
    artifact = unpack(raw, str(path))
    check_manifest(artifact.manifest, artifact.sections, str(path), HINT)
    return artifact


def unpack(raw: bytes, where: str) -> Artifact:
    """The checked content of a container's bytes; `where` names it in errors (those of `read_artifact`)."""
    magic = VERSION.match(raw)
    if magic is None or raw[HEAD - 1 : HEAD] != b"\n":
        raise CorruptError("not an artifact, or a damaged one", where=where, hint=HINT)
    body = memoryview(raw)[HEAD:]
    if not hmac.compare_digest(hashlib.sha256(body).hexdigest().encode(), raw[len(MAGIC) : HEAD - 1]):
        raise CorruptError("damaged: its digest does not match its content", where=where, hint=HINT)
    _check_version(int(magic[1]), where)
    size = int.from_bytes(body[:8], "little")
    if size > min(MAX_MANIFEST_BYTES, len(body) - 8):
        raise CorruptError("damaged: the manifest does not fit", where=where, hint=HINT)
    try:
        manifest = loads_json(bytes(body[8 : 8 + size]))
        _check_version(manifest["schema"], where)
        sections = _sections(manifest["sections"], body[8 + size :])
    except (ValueError, KeyError, TypeError) as e:
        raise CorruptError(f"damaged: {reason(e)}", where=where, hint=HINT) from e
    return Artifact(manifest, sections, len(raw))


def _check_version(version: Any, where: str) -> None:
    """Refuse what another version made.

    Raises:
        UnsupportedError: a newer one. CorruptError: none that there ever was.
    """
    if type(version) is int and version > SCHEMA:
        what = f"made by a newer lampq: an artifact of schema {version}, this version reads {SCHEMA}"
        raise UnsupportedError(what, where=where, hint=f"{NEWER_HINT}, or compile it again")
    if type(version) is not int or version != SCHEMA:
        raise CorruptError("damaged: an artifact of no known schema", where=where, hint=HINT)


def _sections(rows: list[dict[str, Any]], content: memoryview) -> dict[str, bytes]:
    """Sections by name; ValueError unless they fill the content exactly and match their digests."""
    if not isinstance(rows, list) or len(rows) > MAX_SECTIONS:
        raise ValueError("no sections, or too many")
    found: dict[str, bytes] = {}
    end = 0
    for row in rows:
        name, offset, size = row["name"], row["offset"], row["size"]
        if not NAME.fullmatch(name) or name in found or type(offset) is not int or type(size) is not int:
            raise ValueError(f"a section is called {name!r} or has no place")
        if offset != end or not 0 <= size <= len(content) - offset:
            raise ValueError(f"section {name!r} is out of place")
        found[name] = bytes(content[offset : offset + size])
        if hashlib.sha256(found[name]).hexdigest() != row["sha256"]:
            raise ValueError(f"section {name!r} does not match its digest")
        end = _aligned(offset + size)
    if end != len(content):
        raise ValueError("bytes after the last section")
    return found


def _aligned(size: int) -> int:
    """The next multiple of `ALIGN`."""
    return -(-size // ALIGN) * ALIGN
