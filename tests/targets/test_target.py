"""Board files, target names, and the check that code runs here."""

import re

import numpy as np
import pytest
import tvm

from lampq_tvm.compiler.cuda.nvrtc import compile_text
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.targets import boards, check_runs_here, cuda_levels, local_features, resolve_target
from lampq_tvm.targets import machine as this_machine
from lampq_tvm.targets import target as target_names
from tests.device.trivial import trivial_module

BOARDS = sorted(name for name, board in boards().items() if board.cpu is not None)
GPUS = sorted(name for name, board in boards().items() if board.gpu is not None)
CARDS = sorted(set(boards()) - set(BOARDS))


def test_the_named_boards_are_there():
    assert {"raspberry-pi-4", "raspberry-pi-5", "graviton2", "jetson-agx-orin-64gb", "jetson-agx-thor"} <= set(BOARDS)
    assert {"jetson-agx-orin-32gb", "jetson-orin-nx-8gb", "jetson-orin-nano-4gb", "jetson-xavier-nx"} <= set(GPUS)
    assert CARDS == ["a100", "h100", "h200", "l4", "rtx-30", "rtx-40", "rtx-50"]


def level_of(features):
    return "i8mm" if "i8mm" in features else "dotprod" if "asimddp" in features else "neon"


@pytest.mark.parametrize("name", BOARDS)
def test_every_board_is_consistent(name):
    board = boards()[name]
    assert board.name == name
    assert resolve_target(f"{name}:cpu").isa == level_of(board.cpu.features)
    assert ("+dotprod" in board.cpu.mattr) == ("asimddp" in board.cpu.features)
    assert {"clock", "memory_bandwidth", "memory"} <= set(board.figures)
    if "cpu_int8" in board.figures:  # a derived figure follows from cores, clock and the rate that its source names
        rate = float(re.search(r"(\d+) operations", board.figures["cpu_int8"].source)[1])
        expected = board.cpu.cores * board.figures["clock"].value * rate
        assert board.figures["cpu_int8"].value == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("name", ["host", *(f"{b}:cpu" for b in BOARDS)])
def test_every_target_compiles_a_function(name):
    target = resolve_target(name)
    code = tvm.compile(trivial_module(), target=tvm.target.Target(target.tvm)).mod.inspect_source("ll")
    assert f'"target-cpu"="{target.tvm["mcpu"]}"' in code
    assert "native" not in code


def test_llvm_knows_the_dot_product_exactly_where_the_board_has_it():
    for name in BOARDS:
        target = resolve_target(f"{name}:cpu")
        assert bool(tvm.target.Target(target.tvm).attrs["feature.has_dotprod"]) == (target.isa != "neon")


def test_spellings():
    assert resolve_target("raspberry-pi-5:cpu") == resolve_target("raspberry-pi-5")
    assert resolve_target("jetson-agx-orin-64gb:cpu@jp6").name == "jetson-agx-orin-64gb:cpu"


@pytest.mark.parametrize("name", GPUS)
def test_every_gpu_is_consistent(name):
    board = boards()[name]
    assert board.name == name
    figures = {key: figure.value for key, figure in board.figures.items()}
    assert {"gpu_clock", "gpu_fp16", "memory_bandwidth", "memory"} <= set(figures)
    assert ("gpu_int8" in figures) == board.gpu.int8_matrix and ("gpu_int4" in figures) == board.gpu.int4_matrix
    if board.gpu.int8_matrix:  # int8 at twice fp16's rate; a GeForce halves fp16 that is summed in float32
        assert figures["gpu_int8"] / figures["gpu_fp16"] == pytest.approx(4 if name.startswith("rtx") else 2, rel=0.02)
    if board.gpu.int4_matrix:
        assert figures["gpu_int4"] == pytest.approx(2 * figures["gpu_int8"], rel=0.01)


@pytest.mark.parametrize(
    ("text", "name", "isa", "major"),
    [
        ("jetson-agx-orin-64gb", "jetson-agx-orin-64gb@jp6", "sm_87", 12),
        ("jetson-agx-orin-64gb@jp5", "jetson-agx-orin-64gb@jp5", "sm_87", 11),
        ("jetson-agx-thor", "jetson-agx-thor@jp7", "sm_110", 13),
        ("jetson-agx-xavier", "jetson-agx-xavier@jp5", "sm_72", 11),
        ("a100", "a100@cuda13", "sm_80", 13),
        ("h200@cuda12", "h200@cuda12", "sm_90", 12),
        ("l4@cuda11", "l4@cuda11", "sm_89", 11),
        ("rtx-50", "rtx-50@cuda13", "sm_120", 13),
    ],
)
def test_a_gpu_and_its_compiler(text, name, isa, major):
    target = resolve_target(text)
    assert (target.name, target.kind, target.isa, target.cuda_major) == (name, "cuda", isa, major)
    assert resolve_target(target.name) == target


@pytest.mark.parametrize("name", sorted(set(GPUS) - {"jetson-nano"}))
def test_every_gpu_has_a_compiler(name):
    for level in cuda_levels(boards()[name]):
        if level != "jp4":
            target = resolve_target(f"{name}@{level}")
            text = 'extern "C" __global__ void f(int* x) { x[threadIdx.x] = 1; }'
            assert f".target {target.isa}" in compile_text(text, target.isa, target.cuda_major).ptx


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("jetson-nano", "no int8 matrix unit; use jetson-nano:cpu"),
        ("jetson-agx-xavier@jp4", "CUDA 10.2 is older than 11.4, the oldest that is served; use jetson-agx-xavier@jp5"),
        ("jetson-agx-orin-64gb@cuda12", "no CUDA version cuda12; its levels: jp5, jp6"),
        ("rtx-50@cuda12", "its levels: cuda13"),
        ("h100@jp6", "no JetPack level jp6"),
        ("h100:cpu", "a plug-in card has no cores of its own"),
        ("host@jp6", "unknown target"),
        ("jetson-agx-orin-64gb@jp4", "its levels: jp5, jp6"),
        ("raspberry-pi-5@jp6", "its levels: none"),
        ("raspbery-pi5", "did you mean raspberry-pi-5"),
        ("hots", "did you mean host"),
        ("", "not a target"),
        ("../etc/passwd", "unknown target"),
        ("host:gpu", "not a target"),
    ],
)
def test_a_wrong_name_gets_one_helpful_line(text, words):
    with pytest.raises(UnsupportedError) as error:
        resolve_target(text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 3


def fake_machine(monkeypatch, tmp_path, machine, flags):
    rows = "".join(f"{'flags' if machine == 'x86_64' else 'Features'}\t: {row}\n" for row in flags)
    (tmp_path / "cpuinfo").write_text(rows)
    have = local_features(str(tmp_path / "cpuinfo"))
    monkeypatch.setattr(this_machine.platform, "machine", lambda: machine)
    for module in (target_names, this_machine):
        monkeypatch.setattr(module, "local_features", lambda: have)


AVX2 = "abm avx2 bmi1 bmi2 f16c fma movbe"


@pytest.mark.parametrize(
    ("machine", "flags", "isa"),
    [
        ("x86_64", [AVX2], "avx2"),
        ("x86_64", [AVX2 + " avx512f avx512bw avx512cd avx512dq avx512vl"], "avx2"),
        ("x86_64", [AVX2 + " avx512f avx512bw avx512cd avx512dq avx512vl avx512_vnni"], "vnni"),
        ("x86_64", [AVX2 + " avx512f avx512bw avx512cd avx512dq avx512vl avx512_vnni avx512vbmi"], "vbmi"),
        ("aarch64", ["fp asimd"], "neon"),
        ("aarch64", ["fp asimd asimdhp asimddp asimdrdm atomics"], "dotprod"),
        ("aarch64", ["fp asimd asimdhp asimddp asimdrdm atomics i8mm"], "i8mm"),
        ("aarch64", ["fp asimd asimdhp asimddp asimdrdm atomics", "fp asimd"], "neon"),  # mixed cores: what all have
    ],
)
def test_the_host_level_follows_its_features(monkeypatch, tmp_path, machine, flags, isa):
    fake_machine(monkeypatch, tmp_path, machine, flags)
    target = resolve_target("host")
    assert target.isa == isa
    tvm.compile(trivial_module(), target=tvm.target.Target(target.tvm))


def test_a_host_without_avx2_is_refused(monkeypatch, tmp_path):
    fake_machine(monkeypatch, tmp_path, "x86_64", ["sse2 fma"])
    with pytest.raises(UnsupportedError, match="lacks abm avx2"):
        resolve_target("host")


def test_code_is_judged_by_architecture_and_features(monkeypatch, tmp_path):
    fake_machine(monkeypatch, tmp_path, "aarch64", ["fp asimd"])
    check_runs_here("aarch64", resolve_target("raspberry-pi-4").features)
    with pytest.raises(UnsupportedError, match="lacks asimddp"):
        check_runs_here("aarch64", resolve_target("raspberry-pi-5").features)
    with pytest.raises(UnsupportedError, match="compiled for x86"):
        check_runs_here("x86", ())


def test_code_for_this_host_runs_here():
    target = resolve_target("host")
    check_runs_here(target.kind, target.features)
    run = tvm.compile(trivial_module(), target=tvm.target.Target(target.tvm))["main"]
    x = np.arange(64, dtype="float32")
    out = tvm.runtime.tensor(np.zeros(64, "float32"))
    run(tvm.runtime.tensor(x), out)
    np.testing.assert_array_equal(out.numpy(), 2 * x + 1)
