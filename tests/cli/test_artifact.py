import hashlib
import subprocess
import sys

import pytest

from lampq_tvm.artifact.container import ALIGN, HEAD, MAGIC, pack, read_artifact, unpack, write_artifact
from lampq_tvm.errors import CorruptError, OutputError, UnsupportedError, UsageError

SECTIONS = {"lib.so": bytes(range(70)), "plan.json": b"{}", "empty": b""}
MANIFEST = {"target": "host", "avg_w_bits": 4.0}


@pytest.fixture(scope="module")
def raw():
    return pack(SECTIONS, MANIFEST)


def test_round_trip(tmp_path):
    path = tmp_path / "a.lampq"
    write_artifact(path, SECTIONS, MANIFEST)
    artifact = unpack(path.read_bytes(), "a")
    assert artifact.sections == SECTIONS
    assert artifact.manifest["target"] == "host" and artifact.size_bytes == path.stat().st_size
    assert {row["name"]: row["size"] for row in artifact.manifest["sections"]} == {"empty": 0, "lib.so": 70, "plan.json": 2}


def test_bytes_do_not_depend_on_order_or_time(raw):
    assert pack(dict(reversed(SECTIONS.items())), dict(reversed(MANIFEST.items()))) == raw


def test_sections_are_aligned_in_the_file(raw):
    start = raw.index(SECTIONS["lib.so"])
    assert start % ALIGN == 0 and len(raw) % ALIGN == 0


@pytest.mark.parametrize("mask", [1, 0x20, 0x80, 0xFF])
def test_every_flipped_byte_is_found(raw, mask):
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= mask
        with pytest.raises(CorruptError):
            unpack(bytes(changed), "x")


def test_every_cut_and_added_byte_is_found(raw):
    for at in range(len(raw)):
        with pytest.raises(CorruptError):
            unpack(raw[:at], "x")
        with pytest.raises(CorruptError):
            unpack(raw[:at] + b"\0" + raw[at:], "x")
    with pytest.raises(CorruptError):
        unpack(raw + b"\0", "x")


def signed(body):
    return MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


FORGERIES = {
    "path": (b'"name":"empty"', b'"name":"../ab"'),
    "size": (b'"size":70', b'"size":71'),
    "offset": (b'"offset":128', b'"offset":192'),
    "negative": (b'"size":70', b'"size":-7'),
    "digest": (b'"sha256":"e', b'"sha256":"f'),
    "type": (b'"size":70', b'"size":""'),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_a_forged_manifest_under_a_right_digest_is_refused(raw, case):
    old, new = FORGERIES[case]
    body = raw[HEAD:].replace(old, new, 1)
    assert body != raw[HEAD:]
    with pytest.raises(CorruptError):
        unpack(signed(body), "x")


def test_a_huge_manifest_length_is_refused(raw):
    with pytest.raises(CorruptError, match="manifest does not fit"):
        unpack(signed((1 << 62).to_bytes(8, "little") + raw[HEAD + 8 :]), "x")


def test_a_whole_file_of_another_schema_is_unsupported(raw):
    with pytest.raises(UnsupportedError, match="schema 9"):
        unpack(signed(raw[HEAD:].replace(b'"schema":1', b'"schema":9')), "x")


def test_missing_file_and_unwritable_folder(tmp_path):
    with pytest.raises(UsageError):
        read_artifact(tmp_path / "none.lampq")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_artifact(tmp_path / "file" / "a.lampq", SECTIONS, MANIFEST)


def test_names_that_could_leave_a_folder_are_refused():
    for name in ("../x", "/x", ".hidden", "a/b", ""):
        with pytest.raises(ValueError, match="section name"):
            pack({name: b""}, {})


def test_reading_needs_neither_torch_nor_tvm():
    code = "import sys, lampq_tvm.artifact.container; sys.exit(any(m in sys.modules for m in ('torch', 'tvm', 'timm')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
