"""`.npy` and `.npz` files: what they hold is known before it is read, and anything but plain numbers is one line."""

import io
import os
import resource
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest

from lampq_tvm.arrays import read as module
from lampq_tvm.arrays import read_npy, read_npz
from lampq_tvm.errors import UsageError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def npy(array, version=(1, 0), **header):
    """The bytes of an `.npy`; the header says what is given."""
    file = io.BytesIO()
    said = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape, **header}
    (np.lib.format.write_array_header_1_0 if version == (1, 0) else np.lib.format.write_array_header_2_0)(file, said)
    return file.getvalue() + array.tobytes()


def raw(header, body=b"", version=b"\1\0"):
    """An `.npy` of any header."""
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header.encode() + body


ARRAYS = [
    IMAGES, IMAGES.astype(">f4"), IMAGES.astype("<i8"), IMAGES > 3, np.float64(3), np.zeros((0, 4), np.int16),
    np.asfortranarray(IMAGES), IMAGES.astype(np.complex64), np.zeros(7, np.float16),
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{list(a.shape)}")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(tmp_path, array, save):
    np.save(tmp_path / "x.npy", array)
    save(tmp_path / "x.npz", a=array, b=IMAGES, other=IMAGES)
    found, others = read_npz(tmp_path / "x.npz", ("a", "b", "c"))
    assert set(found) == {"a", "b"} and others == ("other",)
    for value in (read_npy(tmp_path / "x.npy"), found["a"]):
        assert value.dtype == array.dtype and value.shape == array.shape
        np.testing.assert_array_equal(value, array)


def test_headers_of_other_writers(tmp_path):
    for header in (
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2,3,4), }",
        "{'shape': (2, 3, 4), 'fortran_order': False, 'descr': '|u1'}      \n",
        '{"descr": "<u1", "fortran_order": False, "shape": (2, 3, 4)}',
    ):
        (tmp_path / "x.npy").write_bytes(raw(header, IMAGES.tobytes()))
        np.testing.assert_array_equal(read_npy(tmp_path / "x.npy"), IMAGES)
    (tmp_path / "x.npy").write_bytes(npy(IMAGES, (2, 0)))
    np.testing.assert_array_equal(read_npy(tmp_path / "x.npy"), IMAGES)


BAD_NPY = {
    "empty": b"",
    "text": b"hello" * 30,
    "cut in the header": npy(IMAGES)[:40],
    "cut": npy(IMAGES)[:-1],
    "too long": npy(IMAGES) + b"x",
    "version 3": b"\x93NUMPY\3" + npy(IMAGES, (2, 0))[7:],
    "version 9": b"\x93NUMPY\x09" + npy(IMAGES)[7:],
    "objects": npy(IMAGES, descr="|O"),
    "structure": npy(IMAGES, descr=[("a", "<f4"), ("b", "<f4")]),
    "text elements": npy(IMAGES, descr="<U1000000000"),
    "dates": npy(IMAGES, descr="<M8[s]"),
    "no such type": npy(IMAGES, descr="<f3"),
    "no width": npy(IMAGES, descr="<f0"),
    "giant": npy(IMAGES, shape=(1 << 40, 1 << 20)),
    "wraps": npy(IMAGES, shape=(1 << 32, 1 << 32, 24)),
    "wraps to nothing": npy(IMAGES[:0], shape=(1 << 62, 1 << 62, 0)),
    "negative": npy(IMAGES, shape=(-2, 3, 4)),
    "half": npy(IMAGES, shape=(2, 3, 2)),
    "truth for a number": raw("{'descr': '|u1', 'fortran_order': False, 'shape': (True,), }", b"x"),
    "many axes": npy(IMAGES, shape=(1,) * 70 + (24,)),
    "code": raw("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), 'x': exit()}", IMAGES.tobytes()),
    "two shapes": raw("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), 'shape': (24,), }", IMAGES.tobytes()),
    "deep": raw("{'descr': " + "(" * 9000, IMAGES.tobytes()),
    "long header": b"\x93NUMPY\2\0" + struct.pack("<I", 1 << 31) + b"{",
    "a zip": b"PK\3\4" + bytes(100),
    "a pickle": b"\x80\4\x95" + bytes(100),
}


@pytest.mark.parametrize("case", BAD_NPY)
def test_a_bad_npy_gets_one_line(tmp_path, case):
    (tmp_path / "x.npy").write_bytes(BAD_NPY[case])
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", BAD_NPY[case])
    for read in (lambda: read_npy(tmp_path / "x.npy"), lambda: read_npz(tmp_path / "x.npz", ("a",))):
        with pytest.raises(UsageError) as e:
            read()
        assert str(tmp_path) in str(e.value) and "\n" not in str(e.value) and len(str(e.value)) < 400


def zipped(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def patch(path, *changes):
    """Change bytes of the directory of a zip of one member: (offset within its entry, format, value)."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\1\2")
    for offset, form, value in changes:
        struct.pack_into(form, content, entry + offset, value)
    path.write_bytes(content)


def test_zip_tricks(tmp_path):
    path, plain = tmp_path / "x.npz", ("a.npy", npy(IMAGES))
    with pytest.warns(UserWarning, match="Duplicate"):
        zipped(path, [plain, plain])
    refuse(path, "twice")
    zipped(path, [("deep/a.npy", npy(IMAGES)), ("../a.npy", npy(IMAGES)), ("/a.npy", npy(IMAGES)), ("a", npy(IMAGES))])
    assert read_npz(path, ("a",))[0] == {}
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        refuse(zipped(path, [plain], compression), "compressed in a way")
    patch(zipped(path, [plain]), (8, "<H", 1))
    refuse(path, "encrypted")
    patch(zipped(path, [plain], zipfile.ZIP_STORED), (24, "<I", 10_000))
    refuse(path, "two sizes|readable")
    patch(zipped(path, [plain]), (24, "<I", 1 << 30))
    refuse(path, "are there")
    patch(zipped(path, [plain]), (24, "<I", len(plain[1]) - 1))
    refuse(path, "are there|CRC")
    patch(zipped(path, [plain]), (16, "<I", 0))
    refuse(path, "CRC")
    patch(zipped(path, [plain]), (42, "<I", 7))
    refuse(path, "readable")
    path.write_bytes(zipped(path, [plain]).read_bytes()[:-60])
    refuse(path, "readable")
    whole = zipped(path, [plain], zipfile.ZIP_STORED).read_bytes()
    path.write_bytes(whole.replace(IMAGES.tobytes(), IMAGES.tobytes()[::-1]))
    refuse(path, "CRC")


def refuse(path, match):
    with pytest.raises(UsageError, match=match) as e:
        read_npz(path, ("a",))
    assert "\n" not in str(e.value)


def bomb(path, n_bytes, chunk=1 << 24):
    """An `.npz` of zeros, a thousandth of what it holds."""
    header = npy(np.zeros(0, np.uint8), shape=(n_bytes >> 20, 1024, 1024))
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w", force_zip64=True) as member,
    ):
        member.write(header)
        for _ in range(n_bytes // chunk):
            member.write(bytes(chunk))
    return path


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = bomb(tmp_path / "x.npz", 1 << 30)
    assert path.stat().st_size < 10 << 20
    code = (
        "import resource, sys\n"
        "from lampq_tvm.errors import UsageError\n"
        "from lampq_tvm.arrays import read_npz\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_npz(sys.argv[1], ('images',)); sys.exit('taken')\n"
        "except UsageError as e: print(e)\n"
        "sys.exit((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024 > 100)\n"
    )
    found = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert found.returncode == 0 and "1.1 GB of arrays, more than 10 times its own" in found.stdout, found


def test_an_honest_large_file_is_mapped_where_it_is_stored_and_read_where_it_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FREE_BYTES", 1000)
    noise = np.random.default_rng(0).integers(0, 256, (5, 40, 40), np.uint8)
    for array in (noise, np.asfortranarray(noise)):
        np.savez(tmp_path / "s.npz", pad=IMAGES, images=array)
        np.savez_compressed(tmp_path / "c.npz", images=array)
        np.save(tmp_path / "x.npy", array)
        stored = read_npz(tmp_path / "s.npz", ("images",))[0]["images"]
        packed = read_npz(tmp_path / "c.npz", ("images",))[0]["images"]
        single = read_npy(tmp_path / "x.npy")
        assert isinstance(stored, np.memmap) and isinstance(single, np.memmap) and not isinstance(packed, np.memmap)
        for found in (stored, packed, single):
            np.testing.assert_array_equal(found, noise)
    whole = bytearray((tmp_path / "s.npz").read_bytes())
    whole[len(whole) // 2] ^= 1
    (tmp_path / "s.npz").write_bytes(whole)
    with pytest.raises(UsageError, match="CRC"):
        read_npz(tmp_path / "s.npz", ("images",))
    np.savez_compressed(tmp_path / "z.npz", images=np.zeros((400, 40, 40), np.uint8))
    with pytest.raises(UsageError, match=r"uncompressed with np\.savez"):
        read_npz(tmp_path / "z.npz", ("images",))


def test_a_directory_that_would_fill_the_memory(tmp_path):
    entry = b"PK\1\2" + bytes(24) + struct.pack("<HHH", 1, 0, 0) + bytes(12) + b"x"
    count = (20 << 20) // len(entry)
    directory = entry * count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(directory), 0, 0)
    (tmp_path / "x.npz").write_bytes(directory + end)
    refuse(tmp_path / "x.npz", "directory")


@pytest.mark.parametrize("kind", ["folder", "pipe", "none", "device"])
def test_no_plain_file(tmp_path, kind):
    path = tmp_path / "x.npz"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    for read in (lambda: read_npy(path), lambda: read_npz(path, ("a",))):
        with pytest.raises(UsageError, match=r"x\.npz"):
            read()


@pytest.mark.parametrize("kind", ["npy", "stored", "deflated"])
def test_mutations_are_refused_or_read(tmp_path, kind):
    """Thousands of changed bytes: a value or one line, and no more memory than the file is worth."""
    path, rng = tmp_path / f"x.{kind}", np.random.default_rng({"npy": 1, "stored": 2, "deflated": 3}[kind])
    whole = npy(IMAGES)
    if kind != "npy":
        compression = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
        whole = zipped(path, [("images.npy", npy(IMAGES)), ("labels.npy", npy(np.arange(2)))], compression).read_bytes()
    before, refused = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for _ in range(2000):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(0, len(content)))
            choice = rng.integers(0, 4)
            if choice == 0:
                content[at] = int(rng.integers(0, 256))
            elif choice == 1:
                content[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\x7f"])
            elif choice == 2:
                del content[at : at + int(rng.integers(1, 30))]
            else:
                content[at:at] = content[at : at + 20]
            content = content or bytearray(b"x")
        path.write_bytes(content)
        try:
            read_npy(path) if kind == "npy" else read_npz(path, ("images", "labels"))
        except UsageError as e:
            refused += 1
            assert "\n" not in str(e)
    assert refused > 1500 and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_the_checksum_of_a_member_covers_its_header(tmp_path):
    content = npy(IMAGES)
    whole = zipped(tmp_path / "x.npz", [("a.npy", content)], zipfile.ZIP_STORED).read_bytes()
    changed = content.replace(b"'shape': (2, 3, 4)", b"'shape': (4, 3, 2)")
    assert zlib.crc32(changed) != zlib.crc32(content)
    (tmp_path / "x.npz").write_bytes(whole.replace(content, changed))
    refuse(tmp_path / "x.npz", "CRC")
