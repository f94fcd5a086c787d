"""The parts of the tuning benches that could be wrong without a figure looking wrong: what a table adds up, what was lost."""

from bench.common.shipped import records, row, summary
from bench.tuning.tune_killed import row_of, trials
from lampq_tvm.records.cpu import Record, TileSizes
from lampq_tvm.tune.log import encode


def record(kernel: str, cost: float, failed: int = 0) -> Record:
    return Record(
        isa="dotprod",
        kernel=kernel,
        tiles=TileSizes(rows=8, vectors=3, group=1, unroll=2),
        unit="cycles",
        cost=cost,
        default_cost=100.0,
        kind="estimated",
        trials=10,
        failed=failed,
        seed=0,
    )


def test_a_level_is_summed_up(tmp_path):
    for kernel, cost, failed in (("a", 100.0, 0), ("b", 50.0, 1), ("c", 80.0, 0)):
        record(kernel, cost, failed).save(tmp_path)
    rows = [row(one) for one in records(tmp_path)]
    assert [one["tiles"] for one in rows] == ["8x3x1x2"] * 3
    found = summary("dotprod", rows)
    assert (found["tasks"], found["candidates"], found["failed_percent"]) == (3, 30, 3.33)
    assert (found["least"], found["median"], found["most"], found["all_tasks"]) == (1.0, 1.25, 2.0, 1.304)


def test_what_a_log_holds_is_counted_once(tmp_path):
    log = tmp_path / "log" / "dotprod" / "a.jsonl"
    log.parent.mkdir(parents=True)
    tried = [{"phase": "search", "tiles": "1x1"}, {"phase": "search", "tiles": "2x1"}, {"phase": "search", "tiles": "2x1"}]
    log.write_bytes(b"".join(encode(trial) for trial in tried) + b'{"crc": 1, "trial"')
    assert trials(tmp_path) == {"a": ["search 1x1", "search 2x1", "search 2x1"]}
    found = row_of("model", "board", tmp_path)
    assert (found["tasks"], found["unbuilt"], found["candidates"], found["repeated"]) == (1, 1, 3, 1)
    record("a", 50.0, failed=2).save(tmp_path)
    found = row_of("model", "board", tmp_path)
    assert (found["unbuilt"], found["failed"], found["median_gain"]) == (0, 2, 2.0)
