"""Counting without Python or TVM on the board: outputs are exact, counts repeat, and a bad kernel costs only itself."""

import subprocess

import numpy as np
import pytest
from tvm.script import tirx as T

from lampq_tvm.device.cross import cross_compiler
from lampq_tvm.device.native import count_classes, count_kernel, empty_outputs, link_kernels
from lampq_tvm.device.native_core import KernelFailedError, NativeCore
from lampq_tvm.errors import DeviceError
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kernels.tunable import ProductKernel
from lampq_tvm.targets import resolve_target
from lampq_tvm.tune.case import make_case
from tests.boards import BOARDS


@pytest.fixture(scope="module", params=BOARDS)
def target(request, pi4, pi5):
    """The boards are taken for their skip where there is no emulator."""
    return resolve_target(BOARDS[request.param])


@pytest.fixture(scope="module")
def pi(pi5):
    return resolve_target("raspberry-pi-5")


@pytest.mark.parametrize("epilogue", ["codes", "residual"])
def test_a_product_is_exact_and_its_count_repeats(target, epilogue):
    kernel = ProductKernel(ProductShape(21, 40, 72, epilogue), target.isa, 8, 8)
    case = make_case(kernel)
    function = kernel.build()
    (out,), count = count_kernel(function, case.arguments, target)
    np.testing.assert_array_equal(out.view(np.uint8), case.expected.view(np.uint8))
    again = count_kernel(function, case.arguments, target)
    assert again[1] == count > 21 * 40 * 72 // 16  # no instruction does more than 16 multiply-adds


LOOP = """
.globl __tvm_ffi_main
__tvm_ffi_main:
    mov x9, #1000
1:  subs x9, x9, #1
    b.ne 1b
    mov w0, wzr
    ret
"""


def test_every_instruction_is_counted_once(pi5, tmp_path):
    (tmp_path / "loop.s").write_text(LOOP)
    library = tmp_path / "loop.so"
    subprocess.run([cross_compiler("aarch64"), "-shared", "-nostdlib", "-o", library, tmp_path / "loop.s"], check=True)
    assert NativeCore("raspberry-pi-5").count(library, [], []).instructions == 1 + 2 * 1000 + 2


def test_parallel_loops_run_as_one_task(pi):
    @T.prim_func(s_tir=True)
    def increment(a: T.Buffer((64,), "int32"), out: T.Buffer((64,), "int32")):
        for i in T.parallel(64):
            out[i] = a[i] + 1

    a = np.arange(64, dtype=np.int32)
    (out,), _ = count_kernel(increment, [a], pi)
    np.testing.assert_array_equal(out, a + 1)


def test_tasks_of_a_parallel_loop_are_counted_one_by_one(pi):
    @T.prim_func(s_tir=True)
    def increment(a: T.Buffer((60, 64), "int32"), out: T.Buffer((60, 64), "int32")):
        for i in T.parallel(60):
            for j in T.serial(64):
                out[i, j] = a[i, j] + 1

    a = np.arange(60 * 64, dtype=np.int32).reshape(60, 64)
    whole, one, split = (count_classes(increment, [a], pi, threads=threads) for threads in (0, 1, 8))
    np.testing.assert_array_equal(split.outputs[0], a + 1)
    ((alone,),), (tasks,) = one.tasks, split.tasks
    assert whole.tasks == () and alone <= whole.instructions
    assert len(tasks) == 8 and len(set(tasks[:7])) == 1 and tasks[7] < tasks[0]  # 8 rows each, and 4
    assert alone < sum(tasks) < 1.1 * alone


@T.prim_func(s_tir=True)
def aborts(out: T.Buffer((4,), "int32")):
    T.evaluate(T.call_extern("void", "abort"))


@T.prim_func(s_tir=True)
def hangs(out: T.Buffer((4,), "int32")):
    T.evaluate(T.call_extern("int32", "pause"))


@T.prim_func(s_tir=True)
def half(a: T.Buffer((4,), "int32"), out: T.Buffer((2,), "int32")):
    out[0] = a[0]


def test_a_crash_and_a_hang_are_told_apart(pi, tmp_path):
    core = NativeCore("raspberry-pi-5")
    for function, outcome in ((aborts, "crash"), (hangs, "hang")):
        library = link_kernels({"main": function}, pi, tmp_path / f"{outcome}.so")
        with pytest.raises(KernelFailedError) as e:
            core.count(library, [], empty_outputs(function, 0), timeout_s=3)
        assert e.value.outcome == outcome


def test_what_the_kernel_leaves_out_shows(pi):
    (out,), _ = count_kernel(half, [np.array([5, 6, 7, 8], np.int32)], pi)
    assert out.tolist() == [5, 0x4D4D4D4D]


def test_arrays_of_other_shapes_are_refused_by_the_kernel_itself(pi):
    with pytest.raises(KernelFailedError, match="shape"):
        count_kernel(half, [np.zeros(3, np.int32)], pi)


def test_a_kernel_that_calls_what_is_not_there_does_not_load(pi):
    @T.prim_func(s_tir=True)
    def lost(out: T.Buffer((4,), "int32")):
        T.evaluate(T.call_extern("int32", "no_such_function"))

    with pytest.raises(DeviceError, match="no_such_function"):
        count_kernel(lost, [], pi)
