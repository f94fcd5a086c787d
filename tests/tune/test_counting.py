"""Tuning for an Arm board that is not at hand: candidates are checked and counted on an emulated core."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lampq_tvm.device.cross import cross_compiler
from lampq_tvm.device.kinds import find_device
from lampq_tvm.errors import DeviceError, OutputError
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kernels.tunable import ProductKernel
from lampq_tvm.records.cpu import read_record
from lampq_tvm.tune.case import make_case
from lampq_tvm.tune.counting import Counting
from lampq_tvm.tune.run import tune_kernels
from tests.boards import target_of

SMALL = ProductShape(18, 48, 40, "codes")
BAD = {
    "crash": "__builtin_trap();",
    "hang": "for (volatile int i = 0;; i = 0) {}",
    "wrong": "",
}


def judge_of(isa: str) -> Iterator[Counting]:
    try:
        with Counting(target_of(isa), find_device("emulated")) as judge:
            yield judge
    except (DeviceError, OutputError) as e:
        pytest.skip(f"no emulated Arm board: {e}")


@pytest.fixture(scope="module", params=["dotprod", "neon"])
def counting(request):
    yield from judge_of(request.param)


@pytest.fixture(scope="module")
def dotprod():
    yield from judge_of("dotprod")


def kernel_for(counting: Counting) -> ProductKernel:
    return ProductKernel(SMALL, counting.target.isa, 8, 8)


def test_a_candidate_that_misbehaves_costs_itself_alone(counting, tmp_path):
    kernel = kernel_for(counting)
    case, good = counting.write_case(make_case(kernel)), counting.build(kernel, kernel.default)
    for outcome, body in BAD.items():
        source, library = tmp_path / f"{outcome}.c", tmp_path / f"{outcome}.so"
        source.write_text(f"int __tvm_ffi_main(void *self, const void *args, int n, void *result) {{ {body} return 0; }}\n")
        subprocess.run([cross_compiler("aarch64"), "-shared", "-fPIC", "-o", library, source], check=True)
        assert counting.judge(case, [library], rounds=1, limit_s=3)["outcome"] == outcome
    answer = counting.judge(case, [good, good], rounds=5)
    assert answer["outcome"] == "exact"
    assert answer["unit"] == "cycles"
    assert answer["samples"][0] == answer["samples"][1]
    assert 0.2 < answer["samples"][0][0] / answer["instructions"][0] < 2


def test_a_counted_search_says_so_and_repeats_itself(dotprod, tmp_path):
    kernel, records = kernel_for(dotprod), []
    for folder in (tmp_path / "one", tmp_path / "two"):
        tune_kernels([kernel], dotprod.target, trials=4, device=find_device("emulated"), database=folder)
        name = next((folder / kernel.isa).glob("*.json")).stem
        records.append(read_record(folder, kernel.isa, name))
    record = records[0]
    assert record == records[1]
    assert (record.unit, record.kind, record.failed) == ("cycles", "estimated", 0)
    best, first = min(record.history.values()), next(iter(record.history.values()))
    assert record.default_cost == first
    assert record.cost == (best if first / best >= 1.02 else first)
    assert len(record.history) == record.trials
    board = dotprod.target.board
    assert record.judged == dotprod.judged
    assert (record.judged.device, record.judged.core) == (f"emulated {board.cpu.qemu}", board.cpu.core)


def test_a_core_without_figures_is_judged_by_instructions(dotprod):
    with Counting(dataclasses.replace(dotprod.target, name="jetson-agx-xavier:cpu"), find_device("emulated")) as judge:
        kernel = kernel_for(dotprod)
        answer = judge.judge(judge.write_case(make_case(kernel)), [judge.build(kernel, kernel.default)], rounds=1)
    assert (answer["unit"], answer["samples"][0][0]) == ("instructions", answer["instructions"][0])
    assert judge.judged.figures is None


def test_reading_records_needs_no_compiler():
    code = "import sys, lampq_tvm.records.cpu as r; r.Records(None).digest('dotprod'); print('tvm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
