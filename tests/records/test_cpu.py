import numpy as np
import pytest

from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.kernels.tunable import ProductKernel
from lampq_tvm.records import held
from lampq_tvm.records.cpu import Record, Records, TileSizes, record_path
from lampq_tvm.resources import data_dir
from tests.tune.kernels import SMALL, kernel_of, levels, run_all

KERNEL = ProductKernel(SMALL, "avx2", 8, 8)
RECORD = Record(
    isa="avx2",
    kernel=KERNEL.key,
    tiles=TileSizes(rows=3, vectors=2, group=1, unroll=2),
    unit="us",
    cost=1.5,
    default_cost=2.0,
    kind="measured",
    trials=8,
    failed=0,
    seed=0,
)
TILES = Tiles(3, 2, 1, 2)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "data_dir", lambda name: tmp_path / name)
    return tmp_path / "schedules"


def test_the_users_record_comes_before_the_shipped_one(tmp_path, shipped):
    user = tmp_path / "user"
    assert Records(user)(KERNEL) is None
    RECORD.save(shipped)
    assert Records(user)(KERNEL) == Records(None)(KERNEL) == TILES
    RECORD.model_copy(update={"tiles": TileSizes(rows=2, vectors=3, group=1, unroll=1)}).save(user)
    assert Records(user)(KERNEL) == Tiles(2, 3)
    assert Records(None)(KERNEL) == TILES


def test_where_the_default_schedule_won_it_is_taken_as_it_is_now(tmp_path, shipped):
    RECORD.save(shipped)
    RECORD.model_copy(update={"cost": 2.0, "tiles": TileSizes(rows=1, vectors=1, group=1, unroll=1)}).save(tmp_path / "user")
    assert Records(tmp_path / "user")(KERNEL) == KERNEL.default != TILES


def test_widths_with_another_step_have_records_of_their_own(tmp_path, shipped):
    RECORD.save(shipped)
    assert Records(None)(ProductKernel(SMALL, "avx2", 4, 4)) is None
    assert Records(None)(ProductKernel(SMALL, "vnni", 8, 8)) is None


DAMAGES = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: b"",
    "not JSON": lambda text: b"\xff" + text,
    "another kernel's": lambda text: text.replace(b"codes_m18", b"codes_m19"),
    "zero rows": lambda text: text.replace(b'"rows": 3', b'"rows": 0'),
    "more vectors than there are": lambda text: text.replace(b'"vectors":2', b'"vectors":7').replace(
        b'"vectors": 2', b'"vectors": 7'
    ),
    "not gated": lambda text: text.replace(b"exact", b"close"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_record_is_skipped_with_a_warning(tmp_path, shipped, capsys, damage):
    user = tmp_path / "user"
    RECORD.model_copy(update={"cost": 1.0}).save(user)
    RECORD.save(shipped)
    path = record_path(user, "avx2", RECORD.kernel)
    path.write_bytes(damage(path.read_bytes()))
    assert Records(user)(KERNEL) == TILES  # the shipped one
    assert str(path) in capsys.readouterr().err


def test_the_digest_follows_every_record(tmp_path, shipped):
    before = Records(tmp_path / "user").digest("avx2")
    RECORD.save(tmp_path / "user")
    after = Records(tmp_path / "user").digest("avx2")
    RECORD.model_copy(update={"tiles": TileSizes(rows=2, vectors=3, group=1, unroll=1)}).save(tmp_path / "user")
    assert len({before, after, Records(tmp_path / "user").digest("avx2")}) == 3
    assert Records(tmp_path / "user").digest("vnni") == Records(None).digest("vnni") or before != after


@pytest.mark.parametrize("isa", ["vbmi", "vnni", "avx2", "i8mm", "dotprod", "neon"])
def test_every_shipped_record_is_sound(isa):
    for path in sorted((data_dir("schedules") / isa).glob("*.json")):
        record = Record.model_validate_json(path.read_bytes())
        kernel = kernel_of(record)
        assert (record.isa, record.kernel) == (isa, path.stem)
        assert kernel.takes(Tiles(**record.tiles.model_dump()))
        assert record.cost <= record.default_cost


@pytest.mark.parametrize("isa", levels())
def test_every_shipped_record_builds_and_is_exact(isa):
    paths = sorted((data_dir("schedules") / isa).glob("*.json"))
    found = [Record.model_validate_json(path.read_bytes()) for path in paths]
    for expected, got in run_all([(kernel_of(r), Tiles(**r.tiles.model_dump())) for r in found], isa):
        assert np.array_equal(expected, got)


def test_a_record_that_comes_after_the_key_is_not_used(tmp_path, shipped):
    """Somebody tunes while a model is compiled: the artifact is made of the records that its key was."""
    opened = Records(tmp_path / "user")
    before = opened.digest("avx2")
    RECORD.save(tmp_path / "user")
    assert opened(KERNEL) is None and opened.digest("avx2") == before
    assert Records(tmp_path / "user")(KERNEL) == TILES
    kept = Records(tmp_path / "user")
    _ = kept.digest("avx2")
    record_path(tmp_path / "user", "avx2", KERNEL.key).unlink()
    assert kept(KERNEL) == TILES


def test_a_folder_in_a_records_place(tmp_path, shipped):
    record_path(tmp_path / "user", "avx2", KERNEL.key).mkdir(parents=True)
    assert Records(tmp_path / "user")(KERNEL) is None and Records(tmp_path / "user").digest("avx2")
