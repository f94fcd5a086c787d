"""Every file type and pixel format that torchvision's folders take: read at its full meaning, or refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lampq_tvm.data import Reading, open_dataset, prepare_file
from lampq_tvm.data.formats import SUFFIXES
from lampq_tvm.data.image import look, read_pixels
from lampq_tvm.errors import UsageError
from lampq_tvm.network.model import InputSpec
from tests.data.images import GREY, RGB, RGBA, class_folders, write

RNG = np.random.default_rng(7)
GREYS = RNG.integers(0, 256, (8, 8), np.uint8)
COLOURS = RNG.integers(0, 256, (8, 8, 3), np.uint8)
ALPHAS = RNG.integers(0, 256, (8, 8, 4), np.uint8)


def test_the_suffixes_are_torchvisions():
    folder = pytest.importorskip("torchvision.datasets.folder")
    assert set(SUFFIXES) == set(folder.IMG_EXTENSIONS)


LOSSLESS = {".png": "PNG", ".ppm": "PPM", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP", ".TIFF": "TIFF"}


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_colours_of_every_type(tmp_path, suffix):
    file = tmp_path / "a" / f"0{suffix}"
    file.parent.mkdir()
    Image.fromarray(COLOURS).save(file, LOSSLESS[suffix], **({"lossless": True} if suffix == ".webp" else {}))
    data = open_dataset(tmp_path, RGB, classes=1)
    data.verify()
    np.testing.assert_array_equal(next(iter(data))[0][0].transpose(1, 2, 0), COLOURS)


def save(path, image, kind, **options):
    image.save(path, kind, **options)
    return path


def pgm(values, white):
    high, low = values.shape
    return b"P5\n%d %d\n%d\n" % (low, high, white) + values.astype(">u2" if white > 255 else "u1").tobytes()


def sixteen_bits(tmp_path, case):
    """A file of 16-bit (12-bit) grey pixels, and the values with their white."""
    values = RNG.integers(0, 65536, (8, 8)).astype(np.uint16)
    values[0, :4] = 0, 256, 257, 65535
    image = Image.fromarray(values)
    path = tmp_path / "x"
    if case == "png":
        return save(path, image, "PNG"), values, 65535
    if case == "tiff":
        return save(path, image, "TIFF"), values, 65535
    if case == "big-endian tiff":
        tags = [(256, 8), (257, 8), (258, 16), (259, 1), (262, 1), (273, 122), (277, 1), (278, 8), (279, 128)]
        directory = b"".join(struct.pack(">HHIHH" if tag in (258, 259, 262, 277) else ">HHII", tag,
                             3 if tag in (258, 259, 262, 277) else 4, 1, value,
                             *([0] if tag in (258, 259, 262, 277) else [])) for tag, value in tags)  # fmt: skip
        path.write_bytes(b"MM\0*\0\0\0\x08" + struct.pack(">H", 9) + directory + bytes(4) + values.astype(">u2").tobytes())
        return path, values, 65535
    if case == "white is zero":
        return save(path, Image.fromarray(65535 - values), "TIFF", tiffinfo={262: 0}), values, 65535
    white = {"pgm": 65535, "pgm 1000": 1000}[case]
    values = (values.astype(int) * white // 65535).astype(np.uint16)
    path.write_bytes(pgm(values, white))
    return path, values, white


@pytest.mark.parametrize("case", ["png", "tiff", "big-endian tiff", "white is zero", "pgm", "pgm 1000"])
def test_sixteen_bit_grey_is_scaled(tmp_path, case):
    file, values, white = sixteen_bits(tmp_path, case)
    expected = values.astype(np.float64) / white * 255
    found = read_pixels(file, 1)[..., 0]
    assert np.abs(found - expected).max() <= 0.5 + 1 / 256 and found.max() == 255
    np.testing.assert_array_equal(read_pixels(file, 4)[..., :3], np.repeat(found[..., None], 3, -1))
    assert (read_pixels(file, 4)[..., 3] == 255).all()


def test_a_tiff_of_twelve_bits(tmp_path):
    values = np.array([[0, 1, 2048, 4095] * 2] * 8)
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in values.reshape(-1, 2).tolist())
    tags = [(256, 8), (257, 8), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 8), (279, len(packed))]
    directory = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    (tmp_path / "x.tif").write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", 9) + directory + bytes(4) + packed)
    np.testing.assert_array_equal(read_pixels(tmp_path / "x.tif", 1)[..., 0], np.rint(values / 4095 * 255).astype(int))


def test_a_sixteen_bit_colour_that_is_transparent(tmp_path):
    values = np.full((8, 8), 1000, np.uint16)
    values[0] = 257 * 9
    save(tmp_path / "x.png", Image.fromarray(values), "PNG", transparency=1000)
    found = read_pixels(tmp_path / "x.png", 4)
    assert found[0, 0].tolist() == [9, 9, 9, 255] and (found[1:, :, 3] == 0).all()


MODES = {
    "1": Image.fromarray(GREYS > 127),
    "L": Image.fromarray(GREYS),
    "LA": Image.fromarray(ALPHAS[..., :2]),
    "P": Image.fromarray(COLOURS).quantize(16),
    "RGB": Image.fromarray(COLOURS),
    "RGBA": Image.fromarray(ALPHAS),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_read_as_torchvision_reads_it(tmp_path, mode):
    loader = pytest.importorskip("torchvision.datasets.folder").default_loader
    file = save(tmp_path / "x.png", MODES[mode], "PNG")
    np.testing.assert_array_equal(prepare_file(file, RGB).transpose(1, 2, 0), np.asarray(loader(file)))
    np.testing.assert_array_equal(prepare_file(file, GREY)[0], np.asarray(MODES[mode].convert("L")))
    np.testing.assert_array_equal(prepare_file(file, RGBA).transpose(1, 2, 0), np.asarray(MODES[mode].convert("RGBA")))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_colours_of_other_spaces(tmp_path, mode, kind):
    loader = pytest.importorskip("torchvision.datasets.folder").default_loader
    file = save(tmp_path / "x.jpg", Image.fromarray(COLOURS).convert(mode), kind)
    try:
        expected = np.asarray(loader(file))
    except OSError:  # pillow 12 cannot read the YCbCr TIFF that it writes
        with pytest.raises(UsageError, match="a broken image"):
            prepare_file(file, RGB)
        return
    np.testing.assert_array_equal(prepare_file(file, RGB).transpose(1, 2, 0), expected)


def test_a_palette_with_transparency(tmp_path):
    image = Image.fromarray(COLOURS).quantize(16)
    file = save(tmp_path / "x.png", image, "PNG", transparency=bytes(range(0, 240, 15)))
    again = Image.open(file)
    np.testing.assert_array_equal(read_pixels(file, 4), np.asarray(again.convert("RGBA")))
    assert len(np.unique(read_pixels(file, 4)[..., 3])) > 2
    assert any("transparency" in what for what in look(file, 3, decode=False).ignored)


REFUSED = {
    "float": (Image.fromarray(np.ones((8, 8), np.float32)), "floating-point"),
    "int32": (Image.fromarray(np.ones((8, 8), np.int32)), "32-bit or signed"),
    "lab": (Image.new("LAB", (8, 8)), r"CIE L\*a\*b\*"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_pixels_without_a_white_are_refused_by_name(tmp_path, case):
    image, what = REFUSED[case]
    (tmp_path / "a").mkdir()
    save(tmp_path / "a" / "x.tif", image, "TIFF")
    data = open_dataset(tmp_path, RGB, classes=1)
    with pytest.raises(UsageError, match=rf"x\.tif: {what}.*no known white"):
        data.verify()
    with pytest.raises(UsageError, match=what):
        next(iter(data))


def test_what_a_model_will_not_see_is_counted(tmp_path, capfd):
    turned = Image.Exif()
    turned[0x0112] = 6
    folder = tmp_path / "a"
    folder.mkdir()
    save(folder / "0.jpg", Image.fromarray(COLOURS), "JPEG", exif=turned)
    save(folder / "1.png", Image.fromarray(COLOURS), "PNG", exif=turned)
    save(folder / "2.jpg", Image.fromarray(COLOURS), "JPEG")
    second = {"save_all": True, "append_images": [Image.fromarray(ALPHAS[::-1].copy())]}
    save(folder / "3.tif", Image.fromarray(COLOURS), "TIFF", **second)
    save(folder / "4.webp", Image.fromarray(ALPHAS), "WEBP", **second)
    data = open_dataset(tmp_path, RGB, classes=1)
    data.verify()
    said = capfd.readouterr().err
    assert "2 of 5 images: EXIF orientation" in said and "2 of 5 images: more than one frame" in said
    assert "1 of 5 images: transparency" in said
    np.testing.assert_array_equal(prepare_file(folder / "3.tif", RGB).transpose(1, 2, 0), COLOURS)


def test_four_channels(tmp_path, capfd):
    (tmp_path / "a").mkdir()
    save(tmp_path / "a" / "0.png", Image.fromarray(ALPHAS), "PNG")
    save(tmp_path / "a" / "1.png", Image.fromarray(COLOURS), "PNG")
    data = open_dataset(tmp_path, RGBA, classes=1)
    data.verify()
    images, _ = next(iter(data))
    np.testing.assert_array_equal(images[0].transpose(1, 2, 0), ALPHAS)
    assert (images[1, 3] == 255).all() and "1 of 2 images: no alpha" in capfd.readouterr().err
    np.savez(tmp_path / "x.npz", images=ALPHAS[None])
    np.testing.assert_array_equal(next(iter(open_dataset(tmp_path / "x.npz", RGBA)))[0], images[:1])
    for spec, images in ((RGB, ALPHAS), (GREY, ALPHAS), (RGBA, COLOURS), (RGBA, GREYS), (RGBA, GREYS[..., None])):
        np.savez(tmp_path / "x.npz", images=images[None])
        with pytest.raises(UsageError, match="channel"):
            open_dataset(tmp_path / "x.npz", spec)
    with pytest.raises(UsageError, match="1, 3 or 4 channels"):
        open_dataset(tmp_path, InputSpec(5, 8, 8, (0.5,) * 5, (0.5,) * 5))


def test_four_channels_are_scaled_alike_from_both_sources(tmp_path):
    transforms = pytest.importorskip("torchvision.transforms")
    pixels = RNG.integers(0, 256, (20, 31, 4), np.uint8)
    (tmp_path / "a").mkdir()
    save(tmp_path / "a" / "0.png", Image.fromarray(pixels), "PNG")
    np.savez(tmp_path / "x.npz", images=pixels[None])
    steps = [transforms.Resize(8, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(8)]
    expected = np.asarray(transforms.Compose(steps)(Image.fromarray(pixels)))
    for path in (tmp_path, tmp_path / "x.npz"):
        np.testing.assert_array_equal(next(iter(open_dataset(path, RGBA)))[0][0].transpose(1, 2, 0), expected)


def test_one_broken_file_of_many_is_left_out_where_that_is_asked_for(tmp_path, capfd):
    root = class_folders(tmp_path / "d", ["a", "b"], each=20)
    for name in ("a/3.png", "b/7.png"):
        (root / name).write_bytes((root / name).read_bytes()[:-30])
    with pytest.raises(UsageError, match=r"3\.png: a broken image.*--skip-broken"):
        open_dataset(root, GREY).verify()
    data = open_dataset(root, GREY, classes=2, how=Reading(skip_broken=True))
    drawn = data.sample(30, seed=1)
    rest = data.sample(None)
    drawn.verify()
    rest.verify()
    assert len(drawn) == 30 and len(rest) == 38 and rest.labels.tolist() == [0] * 19 + [1] * 19
    assert len(np.concatenate([images for images, _ in rest])) == 38
    said = capfd.readouterr().err
    assert said.count("a/3.png: a broken image") == 1 and said.count("b/7.png: a broken image") == 1
    for file in root.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(UsageError, match="every image is broken"):
        open_dataset(root, GREY, how=Reading(skip_broken=True)).sample(4)


def test_a_page_of_another_kind_is_not_run(tmp_path):
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    for content in (postscript, b"<html></html>", b"8BPS\0\1"):
        (tmp_path / "x.jpg").write_bytes(content + bytes(100))
        with pytest.raises(UsageError, match=r"x\.jpg: a broken image"):
            look(tmp_path / "x.jpg", 3, decode=True)


def test_an_image_too_long_to_scale(tmp_path):
    file = write(tmp_path / "a" / "0.png", size=(1, 60_000))
    large = InputSpec(3, 224, 224, (0.5,) * 3, (0.5,) * 3)
    data = open_dataset(tmp_path, large)
    with pytest.raises(UsageError, match=r"0\.png.*60000 x 1"):
        data.verify()
    with pytest.raises(UsageError, match="60000 x 1"):
        prepare_file(file, large)
    np.savez(tmp_path / "x.npz", images=np.zeros((1, 1, 60_000), np.uint8))
    with pytest.raises(UsageError, match="60000 x 1"):
        open_dataset(tmp_path / "x.npz", large)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM"])
def test_damaged_files_get_one_line_and_little_memory(tmp_path, kind):
    file, buffer = tmp_path / "x.png", io.BytesIO()
    Image.fromarray(COLOURS).save(buffer, kind)
    whole, rng = buffer.getvalue(), np.random.default_rng(3)
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 5)):
            content[rng.integers(0, min(len(content), 200))] = rng.integers(0, 256)
        file.write_bytes(content[: rng.integers(1, len(content) + 1)] if rng.random() < 0.3 else content)
        try:
            look(file, 3, decode=True)
            prepare_file(file, RGB)
        except UsageError as e:
            assert ("\n" not in str(e) and str(file) in str(e)) or "too l" in str(e)


@pytest.mark.parametrize(("kind", "side"), [("PNG", 11_586), ("WEBP", 8_193)])
def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path, kind, side):
    buffer, file = io.BytesIO(), tmp_path / "a" / "x.png"
    Image.new("RGBA", (8, 8)).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    content = bytearray(buffer.getvalue())
    if kind == "PNG":
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    else:  # the lossless stream's 14 bits of width and of height
        at = content.index(b"VP8L") + 9
        content[at : at + 4] = struct.pack("<I", (side - 1) | (side - 1) << 14 | 1 << 28)
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(UsageError, match=rf"x\.png: an image of {side} x {side} pixels is too large"):
        open_dataset(tmp_path, RGB, classes=1).verify()
