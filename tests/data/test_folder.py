"""What a folder holds: images are found as torchvision finds them, all else is counted, mistakes are refused."""

import os
import shutil
import subprocess

import pytest

from lampq_tvm.data import Reading, open_dataset
from lampq_tvm.errors import UsageError
from tests.data.images import GREY, class_folders, first_pixels, write


def test_hidden_and_system_folders_are_no_classes_and_are_counted(tmp_path, capfd):
    root = class_folders(tmp_path / "d", ["b", "c"], each=2)
    for name in (".git", "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN"):
        write(root / name / "0.png", 99)
    write(root / "b" / "._0.png", 99)
    write(root / "b" / ".thumbs" / "0.png", 99)
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "a.gif", "b.GIF"):
        (root / "c" / name).write_text("no image")
    write(root / "beside.png", 99)
    data = open_dataset(root, GREY, classes=2)
    assert data.labels.tolist() == [0, 0, 1, 1] and first_pixels(data).tolist() == [0, 0, 1, 1]
    said = capfd.readouterr().err
    for line in ("4 images, 2 class folders", "4 system folders (.: 4)", "2 hidden folders (.: 1, b: 1)",
                 "2 hidden files (b: 1, c: 1)", "1 system files (c: 1)", "1 files of other types (.txt) (c: 1)",
                 "2 files of other types (.gif) (c: 2)", "1 images beside the class folders"):  # fmt: skip
        assert line in said


@pytest.mark.parametrize("names", [["train", "val"], ["Train", "Test"], ["training", "validation", "test"]])
@pytest.mark.parametrize("used", [True, False])
def test_parts_of_a_data_set_are_no_classes(tmp_path, names, used):
    for name in names:
        class_folders(tmp_path / "d" / name, ["a", "b"])
    with pytest.raises(UsageError, match=r"are parts of a data set.*--data .*/d/") as e:
        open_dataset(tmp_path / "d", GREY, classes=len(names), labels_used=used)
    assert names[0] in str(e.value)
    (tmp_path / "map").write_text("\n".join(names))
    data = open_dataset(tmp_path / "d", GREY, classes=len(names), how=Reading(class_map=tmp_path / "map"))
    assert len(data) == 2 * len(names)


def test_a_single_part_around_the_classes(tmp_path):
    class_folders(tmp_path / "d" / "train", ["a", "b"])
    with pytest.raises(UsageError, match=r"--data .*/d/train"):
        open_dataset(tmp_path / "d", GREY, classes=2)


def test_a_class_may_be_called_train(tmp_path):
    root = class_folders(tmp_path / "d", ["aeroplane", "bus", "train"])
    assert open_dataset(root, GREY, classes=3).labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("classes", [None, 4])
def test_class_folders_within_class_folders_are_refused(tmp_path, classes, capfd):
    for name in ("animals", "things"):
        class_folders(tmp_path / "d" / name, ["a", "b"])
    with pytest.raises(UsageError, match=r"animals/ lie only in folders below it \(animals/a, animals/b, .*d/animals"):
        open_dataset(tmp_path / "d", GREY, classes=classes)
    assert not open_dataset(tmp_path / "d", GREY, classes=classes, labels_used=False).has_labels
    (tmp_path / "map.json").write_text('{"animals": 1, "things": 0}')
    data = open_dataset(tmp_path / "d", GREY, classes=classes, how=Reading(class_map=tmp_path / "map.json"))
    assert data.labels.tolist() == [1, 1, 0, 0]


def test_a_folder_around_the_class_folders_is_refused(tmp_path):
    class_folders(tmp_path / "d" / "fashion", [str(i) for i in range(10)])
    with pytest.raises(UsageError, match=r"such as .*/d/fashion"):
        open_dataset(tmp_path / "d", GREY, classes=10)


def test_files_at_any_depth_belong_to_their_class_folder(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    root = tmp_path / "d"
    for path in ("a/images/0.png", "b/0.png", "b/more/1.png", "b/more/still/2.PNG"):
        write(root / path)
    data = open_dataset(root, GREY, classes=2)
    assert data.labels.tolist() == [0, 1, 1, 1]
    assert sorted(map(str, data.files)) == sorted(path for path, _ in datasets.ImageFolder(root).samples)


def test_a_flat_folder_has_no_classes_to_order(tmp_path):
    write(tmp_path / "0.png")
    (tmp_path / "map").write_text("a")
    assert not open_dataset(tmp_path, GREY, classes=10).has_labels
    for how in (Reading(class_order="text"), Reading(class_map=tmp_path / "map")):
        with pytest.raises(UsageError, match="no class folders"):
            open_dataset(tmp_path, GREY, how=how)


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.heic").write_text("")
    with pytest.raises(UsageError, match=r"no images; left out: 1 files of other types \(.heic\)"):
        open_dataset(tmp_path, GREY)


def test_links_in_a_circle_end_and_links_to_folders_are_followed(tmp_path, capfd):
    root = class_folders(tmp_path / "d", ["a", "b"])
    write(tmp_path / "elsewhere" / "7.png")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to(root / "a")
    (root / "b" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "b" / "round.png").symlink_to("round.png")
    data = open_dataset(root, GREY, classes=2)
    names = [str(file.relative_to(root)) for file in data.files]
    assert "b/more/7.png" in names and len(names) == len(set(names))
    assert "links to a folder that was seen" in capfd.readouterr().err
    with pytest.raises(UsageError, match=r"round\.png"):
        data.verify()


def test_a_pipe_is_no_image(tmp_path, capfd):
    root = class_folders(tmp_path / "d", ["a"])
    os.mkfifo(root / "a" / "1.png")
    os.mkfifo(root / "a" / "x.npz")
    data = open_dataset(root, GREY, classes=1)
    data.verify()
    assert len(data) == 1 and "1 pipes, sockets and devices (a: 1)" in capfd.readouterr().err
    with pytest.raises(UsageError, match="no plain file"):
        open_dataset(root / "a" / "x.npz", GREY)


def test_a_link_to_nothing_is_named(tmp_path):
    root = class_folders(tmp_path / "d", ["a"])
    (root / "a" / "1.png").symlink_to(root / "gone.png")
    with pytest.raises(UsageError, match=r"a/1\.png: a broken image"):
        open_dataset(root, GREY).verify()


def test_folders_deeper_than_the_call_stack(tmp_path):
    root = class_folders(tmp_path / "d", ["a"])
    here = os.open(root / "a", os.O_RDONLY)
    for _ in range(1200):  # each step has a name of one character: the whole way fits in 4096
        os.mkdir("x", dir_fd=here)
        inner = os.open("x", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    try:
        assert len(open_dataset(root, GREY, classes=1)) == 1
    finally:
        subprocess.run(["rm", "-r", root], check=True)  # shutil's rmtree is recursive


def test_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    root = class_folders(tmp_path / "d", ["a", "b"])
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UsageError, match=r"/b: cannot read the folder \(Permission denied\)"):
        open_dataset(root, GREY)


@pytest.mark.parametrize("name", [b"caf\xe9", "größe\u202e".encode(), b"a\nb\x1b[31m"])
def test_names_that_are_no_plain_text(tmp_path, name, capfd):
    root = tmp_path / "d"
    root.mkdir()
    (root / os.fsdecode(name)).mkdir()
    write(tmp_path / "0.png")
    shutil.copy(tmp_path / "0.png", os.fsencode(root) + b"/" + name + b"/0.png")
    open(os.fsencode(root) + b"/" + name + b"/x.\x1b", "w").close()
    data = open_dataset(root, GREY, classes=1)
    data.verify()
    assert len(next(iter(data))[0]) == 1
    said = capfd.readouterr().err
    assert "\x1b" not in said and "1 images" in said
    with pytest.raises(UsageError) as e:
        open_dataset(root, GREY, classes=2)
    assert "\x1b" not in str(e.value) and "\n" not in str(e.value)
    data.files[0].write_bytes(b"")
    with pytest.raises(UsageError) as e:
        open_dataset(root, GREY, classes=1).verify()
    assert "\x1b" not in str(e.value) and "a broken image" in str(e.value)
    str(e.value).encode()  # also where the name is no text


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "d/0.png/inside"])
def test_paths_that_cannot_be(tmp_path, path):
    write(tmp_path / "d" / "0.png")
    with pytest.raises(UsageError):
        open_dataset(f"{tmp_path}/{path}", GREY)
