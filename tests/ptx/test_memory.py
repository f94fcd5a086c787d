import numpy as np
import pytest

from lampq_tvm.errors import CorruptError, UsageError
from lampq_tvm.ptx import Memory, parse
from lampq_tvm.ptx.errors import Fault

LANES = np.arange(4)


def test_allocations_are_apart_and_aligned():
    memory = Memory()
    places = [memory.alloc(size) for size in (1, 1000, 70000, 3)]
    assert all(p % 256 == 0 and p > 2**32 for p in places)
    assert all(b - a > size for a, b, size in zip(places, places[1:], (1, 1000, 70000), strict=False))
    memory.write(places[1], np.arange(250, dtype=np.int32))
    memory.alloc(1 << 20)
    assert memory.read(places[1], 1000).view(np.int32).tolist() == list(range(250))


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
def test_items_keep_their_bits(width):
    memory = Memory()
    place = memory.alloc(64)
    data = np.random.default_rng(width).integers(0, 256, 64).astype(np.uint8)
    data[:16] = [0, 0, 0, 0, 1, 0, 0xF0, 0x7F, 0, 0, 0, 0, 1, 0, 0xF0, 0xFF]  # signalling NaNs
    memory.write(place, data)
    addresses = place + width * np.array([3, 0, 2, 1], np.uint64)
    items = memory.gather(addresses, width, LANES)
    assert np.array_equal(items.view(np.uint8).reshape(4, width), data[: 4 * width].reshape(4, width)[[3, 0, 2, 1]])
    memory.write(place, bytes(64))
    memory.scatter(addresses, items, LANES)
    assert np.array_equal(memory.read(place, 4 * width), data[: 4 * width])


def test_outside_is_refused():
    memory = Memory()
    first, second = memory.alloc(16), memory.alloc(16)
    both = np.array([first, second + 12, first + 4, second], np.uint64)
    assert memory.gather(both, 4, LANES).tolist() == [0] * 4
    for bad in (first - 4, first + 16, second + 16, 0, 2**63):
        with pytest.raises(Fault, match="outside") as caught:
            memory.gather(np.array([first, second, bad, first], np.uint64), 4, LANES)
        assert (caught.value.lane, caught.value.address) == (2, bad)
    with pytest.raises(Fault, match="misaligned"):
        memory.gather(np.array([first, first + 2, first, first], np.uint64), 4, LANES)
    memory.free(second)
    with pytest.raises(Fault, match="outside"):
        memory.gather(both, 4, LANES)
    for wrong in (lambda: memory.read(first, 17), lambda: memory.write(first + 15, b"ab"), lambda: memory.free(first + 1)):
        with pytest.raises(UsageError):
            wrong()


def test_texts_that_are_not_ptx():
    with pytest.raises(CorruptError):
        parse("int main() {}")
    with pytest.raises(CorruptError, match="no label"):
        parse(".version 7.0\n.target sm_80\n.visible .entry k()\n{\nbra.uni L;\n}")
