"""Places of values in one arena: nothing that lives overlaps, and little is left free."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.lower.memory import ALIGNMENT, Step, plan_memory
from tests.examples import quick_examples


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[Step], set[str]]:
    """Calls that read earlier values, some written over one of them or asking for it in vain; some values apart."""
    steps: list[Step] = []
    for t in range(draw(st.integers(1, 14))):
        known = [step.value for step in steps]
        reads = draw(st.lists(st.sampled_from([*known, "image"]), max_size=3))
        over = draw(st.sampled_from([*reads, None])) if reads else None
        sizes = {step.value: step.size for step in steps}
        size = sizes[over] if over in sizes and draw(st.booleans()) else draw(st.integers(1, 500))
        steps.append(Step(f"v{t}", tuple(reads), size, over))
    return steps, draw(st.sets(st.sampled_from([step.value for step in steps]), max_size=2))


def lives(steps: list[Step]) -> dict[str, range]:
    """Calls during which each value must keep what was written."""
    return {
        step.value: range(t, max([t, *(u for u, later in enumerate(steps) if step.value in later.reads)]) + 1)
        for t, step in enumerate(steps)
    }


def rounded(step: Step) -> int:
    return -(-step.size // ALIGNMENT) * ALIGNMENT


@quick_examples(400)
@given(programs())
def test_any_program(program):
    steps, apart = program
    arena, alive, by_name = plan_memory(steps, apart), lives(steps), {step.value: step for step in steps}
    placed = [step for step in steps if step.value not in apart]
    assert arena.offsets.keys() == {step.value for step in placed}
    for step in placed:
        start = arena.offsets[step.value]
        assert start >= 0 and start % ALIGNMENT == 0 and start + step.size <= arena.size
    for a, b in combinations(placed, 2):  # a is written first
        shared = alive[a.value].stop - alive[b.value].start
        handed_over = shared == 1 and b.over == a.value and arena.offsets[a.value] == arena.offsets[b.value]
        if shared > 0 and not handed_over:
            first, second = sorted((a, b), key=lambda step: arena.offsets[step.value])
            assert arena.offsets[first.value] + first.size <= arena.offsets[second.value]
    for t, step in enumerate(steps):
        over = by_name.get(step.over or "")
        if over is None or {step.value, over.value} & apart or rounded(over) != rounded(step):
            continue
        if alive[over.value].stop == t + 1:
            assert arena.offsets[over.value] == arena.offsets[step.value]
    least, most = bounds(placed, steps, arena.offsets)
    assert least <= arena.size <= most
    assert plan_memory(steps, apart) == arena


def bounds(placed: list[Step], steps: list[Step], offsets: dict[str, int]) -> tuple[int, int]:
    """What values in different places take at once, and the documented limit: the sum, or a value and twice its neighbours."""
    chains: list[list[Step]] = []
    alive = lives(steps)
    for step in placed:
        chain = next((c for c in chains if step.over == c[-1].value and rounded(c[-1]) == rounded(step)), None)
        if chain and alive[step.over].stop == alive[step.value].start + 1:
            chain.append(step)
        else:
            chains.append([step])
    spans = [(range(alive[c[0].value].start, alive[c[-1].value].stop), rounded(c[0])) for c in chains]
    least = max((sum(size for span, size in spans if t in span) for t in range(len(steps))), default=0)
    beside = [
        size + 2 * sum(s for i, (other, s) in enumerate(spans) if i != n and max(other[0], span[0]) <= min(other[-1], span[-1]))
        for n, (span, size) in enumerate(spans)
    ]
    return least, min(sum(size for _, size in spans), max(beside, default=0))


def test_a_stream_stays_where_it_is():
    """norm, branch, sum, three times over: the stream and two branch values."""
    steps = [Step("x0", ("image",), 640)]
    for i in range(3):
        steps += [Step(f"n{i}", (f"x{i}",), 64), Step(f"b{i}", (f"n{i}",), 256)]
        steps.append(Step(f"x{i + 1}", (f"b{i}", f"x{i}"), 640, f"x{i}"))
    arena = plan_memory([*steps, Step("logits", ("x3",), 40)], {"logits"})
    assert len({arena.offsets[f"x{i}"] for i in range(4)}) == 1
    assert arena.size == 640 + 64 + 256 and "logits" not in arena.offsets


@pytest.mark.parametrize("reason", ["read again", "of another size", "apart"])
def test_a_value_that_is_still_wanted_is_not_written_over(reason):
    steps = [Step("a", (), 128), Step("b", ("a",), 128, "a"), Step("c", ("b",), 64)]
    if reason == "read again":
        steps[2] = dataclasses.replace(steps[2], reads=("a", "b"))
    if reason == "of another size":
        steps[1] = dataclasses.replace(steps[1], size=256)
    arena = plan_memory(steps, {"a"} if reason == "apart" else ())
    assert arena.offsets.get("a") != arena.offsets["b"]


def test_nothing_needs_nothing():
    assert plan_memory([]).size == 0
