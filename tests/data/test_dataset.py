import numpy as np
import pytest
from PIL import Image

from lampq_tvm.data import Dataset, open_dataset, prepare_array, to_channels
from lampq_tvm.errors import UsageError
from lampq_tvm.network.model import InputSpec
from tests.data.images import GREY, RGB


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    return tmp_path


def write_npz(path, images, labels):
    np.savez(path, images=images, labels=labels)
    return path


def test_folder_labels_follow_sorted_class_names_and_pixels_stay(folder):
    data = open_dataset(folder, RGB, classes=2)
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1] and data.labels.dtype == np.int64
    images, labels = next(data.batches(4))
    assert images.shape == (4, 3, 8, 8) and labels.tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(images[0].transpose(1, 2, 0), np.asarray(Image.open(folder / "a" / "0.png")))


def test_batches_cover_every_image_once(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (11, 8, 8), np.uint8)
    data = open_dataset(write_npz(tmp_path / "x.npz", images, np.arange(11)), GREY)
    seen = np.concatenate([b for b, _ in data.batches(4)])
    np.testing.assert_array_equal(seen[:, 0], images)
    assert [len(label) for _, label in data.batches(4, 1, 9)] == [4, 4]


def test_npz_and_folder_give_the_same_pixels(folder, tmp_path):
    pixels = np.stack([np.asarray(Image.open(p)) for p in sorted((folder / "a").glob("*.png"))])
    wide = InputSpec(1, 12, 10, (0.5,), (0.5,), crop_pct=0.8)
    npz = open_dataset(write_npz(tmp_path / "x.npz", pixels, np.zeros(3, int)), wide)
    from_npz = next(npz.batches(3))[0]
    from_files = next(open_dataset(folder, wide).batches(3))[0]
    assert from_npz.shape == (3, 1, 12, 10)
    np.testing.assert_array_equal(from_npz, from_files)


def test_luma_is_pillows():
    rgb = np.random.default_rng(2).integers(0, 256, (1, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(to_channels(rgb, 1)[0, :, :, 0], np.asarray(Image.fromarray(rgb[0]).convert("L")))


def test_resize_is_timms(tmp_path):
    transforms = pytest.importorskip("torchvision.transforms")
    spec = InputSpec(3, 32, 32, (0.5,) * 3, (0.5,) * 3, interpolation="bicubic", crop_pct=0.9)
    for shape in ((50, 71), (71, 50), (20, 33), (36, 36)):
        image = np.random.default_rng(3).integers(0, 256, (*shape, 3), np.uint8)
        steps = [transforms.Resize(35, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(32)]
        expected = np.asarray(transforms.Compose(steps)(Image.fromarray(image)))
        np.testing.assert_array_equal(prepare_array(image[None], spec)[0].transpose(1, 2, 0), expected)


def test_sample_is_drawn_once_and_for_all(folder):
    data = open_dataset(folder, RGB)
    part = data.sample(4, seed=3)
    assert len(part) == 4 and len(set(part.files)) == 4
    assert part.files == data.sample(4, seed=3).files
    assert part.fingerprint == data.sample(4, seed=3).fingerprint != data.fingerprint
    assert data.sample(None) is data


@pytest.mark.parametrize("cut", [20, 60, 100])
def test_a_broken_image_is_named(folder, cut):
    file = folder / "b" / "1.png"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(UsageError, match=r"b/1\.png: a broken image"):
        open_dataset(folder, RGB).verify()


def test_a_truncated_jpeg_is_found(folder):
    Image.fromarray(np.random.default_rng(4).integers(0, 256, (64, 64, 3), np.uint8)).save(folder / "a" / "j.jpg")
    file = folder / "a" / "j.jpg"
    open_dataset(folder, RGB).verify()
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(UsageError, match="broken image"):
        open_dataset(folder, RGB).verify()


def bad_data(tmp_path, case):
    images = np.zeros((4, 8, 8), np.uint8)
    path = tmp_path / "x.npz"
    if case == "missing":
        return tmp_path / "none.npz"
    if case == "empty folder":
        return tmp_path
    if case == "no images":
        np.savez(path, labels=np.zeros(4, int))
    elif case == "float images":
        write_npz(path, images.astype(np.float32), np.zeros(4, int))
    elif case == "channels first":
        write_npz(path, np.zeros((4, 3, 8, 8), np.uint8), np.zeros(4, int))
    elif case == "float labels":
        write_npz(path, images, np.zeros(4))
    elif case == "label count":
        write_npz(path, images, np.zeros(3, int))
    elif case == "huge label":
        write_npz(path, images, np.full(4, 2**64 - 1, np.uint64))
    elif case == "scalar":
        write_npz(path, np.uint8(3), np.zeros(4, int))
    elif case == "pickle":
        write_npz(path, images, np.array([{}] * 4, object))
    elif case == "no image":
        write_npz(path, images[:0], np.zeros(0, int))
    elif case == "truncated":
        path.write_bytes(write_npz(path, images, np.zeros(4, int)).read_bytes()[:-60])
    elif case == "text":
        path.write_text("hello")
    elif case == "suffix":
        path = tmp_path / "x.csv"
        path.write_text("1,2")
    return path


CASES = ["missing", "empty folder", "no images", "float images", "channels first", "float labels", "label count", "huge label",
         "scalar", "pickle", "no image", "truncated", "text", "suffix"]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_data_gets_one_line(tmp_path, case):
    with pytest.raises(UsageError) as e:
        open_dataset(bad_data(tmp_path, case), GREY)
    assert e.value.exit_code == 2 and "\n" not in str(e.value) and str(tmp_path) in str(e.value)


@pytest.mark.parametrize("label", [-1, 10])
def test_labels_out_of_range(tmp_path, label):
    path = write_npz(tmp_path / "x.npz", np.zeros((2, 8, 8), np.uint8), np.array([0, label]))
    with pytest.raises(UsageError, match=f"image 1: label {label} is out of range for a model with 10 classes"):
        open_dataset(path, GREY, classes=10)


@pytest.mark.parametrize("kind", ["npz", "flat folder"])
def test_images_without_labels_are_a_data_set(folder, tmp_path, kind):
    path = folder / "a"
    if kind == "npz":
        path = tmp_path / "x.npz"
        np.savez(path, images=np.stack([np.asarray(Image.open(folder / "a" / f"{i}.png")) for i in range(3)]))
    data = open_dataset(path, RGB, classes=10)
    images, labels = next(iter(data))
    assert len(data) == 3 and not data.has_labels and data.labels is None and labels is None and images.shape == (3, 3, 8, 8)
    assert len(data.sample(2)) == 2 and data.sample(2).labels is None


def test_labels_are_part_of_the_fingerprint(tmp_path):
    images = np.zeros((2, 8, 8), np.uint8)
    np.savez(tmp_path / "none.npz", images=images)
    paths = [tmp_path / "none.npz", *(write_npz(tmp_path / f"{i}.npz", images, np.array([0, i])) for i in range(2))]
    assert len({open_dataset(path, GREY).fingerprint for path in paths}) == 3


def test_a_dataset_is_a_plain_value():
    assert len(Dataset(path=None, spec=GREY, labels=np.zeros(2, np.int64), images=np.zeros((2, 8, 8), np.uint8))) == 2
