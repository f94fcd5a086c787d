"""Records of CUDA kernels: written, found by kernel and architecture, and left alone where they are damaged."""

from __future__ import annotations

import dataclasses
import re

import pytest

from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape, with_warps
from lampq_tvm.kernels.cuda.levels import mma_for
from lampq_tvm.kernels.cuda.tiles import CudaTiles, check_tiles, default_tiles, tiles_of
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.records.cuda import CudaRecord, CudaRecords, attention_key, product_key
from lampq_tvm.resources import data_dir

SHAPE, MMA = ProductShape(31, 96, 64, "codes"), mma_for(8, 8, "sm_90")
TILES = CudaTiles(16, 32, 16, 4, 1, 2)
PRODUCT_KEY = re.compile(r"(?P<epilogue>[a-z]+)_m(?P<m>\d+)_n(?P<n>\d+)_k(?P<k>\d+)(?P<normed>_normed)?_(?P<mma>\w+)")
ATTENTION_KEY = re.compile(r"attention_i(\d+)_t(\d+)_h(\d+)x(\d+)")
ATTENTION = CudaAttentionShape(3, 19, 2, 32)


def record(kernel: str, sizes: dict[str, int], arch: str = "sm_90") -> CudaRecord:
    return CudaRecord(arch=arch, kernel=kernel, sizes=sizes, us=1, default_us=2, device="a GPU", trials=3, failed=0)


def test_a_record_is_taken_for_its_kernel_and_architecture_alone(tmp_path):
    record(product_key(SHAPE, MMA, True), dataclasses.asdict(TILES)).save(tmp_path)
    record(attention_key(ATTENTION), {"row_warps": 1, "key_warps": 3}).save(tmp_path)
    found = CudaRecords("sm_90", tmp_path)
    assert found.product(SHAPE, MMA, True) == TILES
    assert found.product(SHAPE, MMA, False) == default_tiles(SHAPE, MMA)
    assert found.attention(ATTENTION) == dataclasses.replace(ATTENTION, row_warps=1, key_warps=3)
    other = CudaRecords("sm_87", tmp_path)
    assert other.product(SHAPE, MMA, True) == default_tiles(SHAPE, MMA)
    assert other.attention(ATTENTION) == with_warps(ATTENTION)
    assert found.digest() != CudaRecords("sm_90").digest()


@pytest.mark.parametrize("damage", ["torn", "another kernel's", "sizes of another kind", "a size of none"])
def test_a_damaged_record_is_not_used(tmp_path, damage, capsys):
    key = product_key(SHAPE, MMA, False)
    sizes = dataclasses.asdict(TILES)
    match damage:
        case "sizes of another kind":
            sizes = {"row_warps": 1, "key_warps": 1}
        case "a size of none":
            sizes["rows"] = 0
    record("codes_m1_n1_k1_s8" if damage == "another kernel's" else key, sizes).save(tmp_path)
    if damage == "another kernel's":
        (tmp_path / "sm_90" / "codes_m1_n1_k1_s8.json").rename(tmp_path / "sm_90" / f"{key}.json")
    if damage == "torn":
        path = tmp_path / "sm_90" / f"{key}.json"
        path.write_bytes(path.read_bytes()[:-20])
    assert CudaRecords("sm_90", tmp_path).product(SHAPE, MMA, False) == default_tiles(SHAPE, MMA)
    assert "not used" in capsys.readouterr().err


def test_tiles_that_do_not_fit_into_shared_memory_are_not_used(tmp_path):
    large = dataclasses.replace(TILES, words=64, stages=5, rows=256, columns=256, warp_rows=4, warp_columns=4)
    record(product_key(SHAPE, MMA, False), dataclasses.asdict(large)).save(tmp_path)
    assert CudaRecords("sm_90", tmp_path).product(SHAPE, MMA, False) == default_tiles(SHAPE, MMA)


@pytest.mark.parametrize(
    ("tiles", "normed"), [(CudaTiles(16, 192, 24, 2, 1, 3), True), (CudaTiles(256, 256, 16, 2, 16, 4), False)]
)
def test_rows_are_whole_for_every_warp_and_warps_for_a_block(tmp_path, tiles, normed):
    """Three warps cannot share 16 rows of a LayerNorm: some would never be made; a block has no 64 warps."""
    record(product_key(SHAPE, MMA, normed), dataclasses.asdict(tiles)).save(tmp_path)
    assert CudaRecords("sm_90", tmp_path).product(SHAPE, MMA, normed) == default_tiles(SHAPE, MMA)
    assert not check_tiles(tiles, MMA, normed)


@pytest.mark.parametrize("sizes", [{"row_warps": 8, "key_warps": 8}, {"row_warps": 1, "key_warps": 24}])
def test_warps_of_an_attention_that_do_not_fit_are_not_used(tmp_path, sizes):
    """More than a block has, or more than shared memory has room for their sums."""
    shape = CudaAttentionShape(1, 400, 2, 64)
    record(attention_key(shape), sizes, "sm_72").save(tmp_path)
    assert CudaRecords("sm_72", tmp_path).attention(shape) == with_warps(shape)


def test_shipped_records_are_taken(capsys):
    """Each is faster than the default, and lowering gets its sizes: they are read, can be built and fit shared memory."""
    paths = sorted(data_dir("schedules").glob("sm_*/*.json"))
    assert paths
    for path in paths:
        found = CudaRecord.model_validate_json(path.read_bytes())
        assert (found.arch, found.kernel) == (path.parent.name, path.stem) and found.us < found.default_us
        records = CudaRecords(found.arch)
        if (numbers := ATTENTION_KEY.fullmatch(found.kernel)) is not None:
            taken = records.attention(CudaAttentionShape(*map(int, numbers.groups())))
            assert {"row_warps": taken.row_warps, "key_warps": taken.key_warps} == found.sizes
            continue
        numbers = PRODUCT_KEY.fullmatch(found.kernel)
        assert numbers is not None and numbers["mma"] == MMA.name
        shape = ProductShape(*map(int, numbers.group("m", "n", "k")), numbers["epilogue"])
        assert dataclasses.asdict(records.product(shape, MMA, numbers["normed"] is not None)) == found.sizes
    assert "not used" not in capsys.readouterr().err


def test_a_key_names_its_tiles():
    for tiles in (CudaTiles(64, 32), TILES, CudaTiles(32, 64, 32, 3, 1, 2, 4)):
        assert tiles_of(tiles.key) == tiles
    with pytest.raises(ValueError, match="names no tiles"):
        tiles_of("64x64")
