"""Every operator has its file in every room; a new one needs a file in each of them and no edited line elsewhere."""

from __future__ import annotations

import dataclasses
import functools
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from lampq_tvm import bitplan
from lampq_tvm.artifact.container import Artifact
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate import fit, margins
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.compiler.build import build, payload
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.cuda import tokens as cuda_kernels
from lampq_tvm.kernels.elementwise import build_add
from lampq_tvm.lower import operators as cpu
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.cuda import operators as cuda
from lampq_tvm.lower.cuda import support
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch, builder
from lampq_tvm.lower.cuda.network import lower_cuda
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.module import lower
from lampq_tvm.network import operators as network
from lampq_tvm.network.edit import insert
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.oracle import operators as oracle
from lampq_tvm.oracle.run import run_oracle
from lampq_tvm.quantize import build_rules, operators, reference_rules
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.builder import Builder
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.registry import Registry
from lampq_tvm.runtime.runner import Runner
from lampq_tvm.store import Units
from tests.boards import runs_here, target_of
from tests.quantize.tiny import tiny_images, tiny_model

FORMS = (build_rules.REALS, build_rules.CODES, build_rules.HEADS, build_rules.SUMS)
RULES = {
    "quantize/reference_rules": reference_rules.RULES,
    "oracle/operators": oracle.RULES,
    "lower/operators": cpu.RULES,
    "lower/cuda/operators": cuda.RULES,
}


def lacking(floats: Collection[type[FloatOp]], integers: Collection[type[QOp]]) -> Iterator[str]:
    """`room: operator`, and what of it is not there."""
    for op in floats:
        for rule in ("shape", "run"):
            if rule not in vars(op):
                yield f"network/operators: {op.__name__} has no {rule}"
        if not any(op in form for form in FORMS):
            yield f"quantize/build_rules: nothing makes an integer operator of {op.__name__}"
        if op not in build_rules.PAYLOAD:
            yield f"quantize/build_rules: nobody knows what {op.__name__} stores"
    for q in integers:
        if "shape" not in vars(q):
            yield f"quantize/operators: {q.__name__} has no shape"
        yield from (f"{room}: no rule for {q.__name__}" for room, found in RULES.items() if q not in found)
        if q.__doc__ is None or q.__doc__.startswith(f"{q.__name__}("):  # what a dataclass says by itself
            yield f"docs/arithmetic.md: {q.__name__} does not say what it computes"
    stood_for = {name for q in integers for name in q.of}
    yield from (f"docs/arithmetic.md: no operator stands for {op.__name__}" for op in floats if op.__name__ not in stood_for)


def test_every_operator_is_in_every_room():
    assert len(network.OPERATORS) >= 14 and len(operators.OPERATORS) >= 15
    assert list(lacking(network.OPERATORS.values(), operators.OPERATORS.values())) == []


def test_rooms_know_no_operator_that_does_not_exist():
    floats, integers = set(network.OPERATORS.values()), set(operators.OPERATORS.values())
    assert {op for form in (*FORMS, build_rules.PAYLOAD) for op in form} <= floats
    assert {op for room in RULES.values() for op in room} == integers
    assert {name for q in integers for name in q.of} <= {op.__name__ for op in floats}


@pytest.mark.parametrize("room", [network, operators, build_rules, reference_rules, oracle, cpu, cuda])
def test_a_room_has_a_file_an_operator_and_no_list_of_them(room):
    """The package names none of its modules; its files hold rules alone, few in each."""
    folder = Path(room.__file__).parent
    names = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert len(names) >= 10
    assert not [
        name
        for name in names
        if re.search(rf"import .*\b{name}\b|operators\.{name}\b", (folder / "__init__.py").read_text("utf-8"))
    ]


@pytest.mark.parametrize("stage", [bitplan, fit, margins, support])
def test_stages_ask_operators_and_name_none(stage):
    """What they need to know is an attribute, or a rule found by the class."""
    assert not [op.__name__ for op in network.OPERATORS.values() if any(op is value for value in vars(stage).values())]


@dataclass(frozen=True)
class Double(FloatOp):
    """x + x."""

    def shape(self, x: Sequence[Shape], tensors: dict[str, Shaped]) -> Shape:
        return x[0]

    def run(self, x, tensors):
        return x[0] + x[0]


@dataclass(frozen=True)
class QDouble(QOp):
    """fl(x + x), float32."""

    of = ("Double",)

    def shape(self, x: Sequence[Shape], tensors: dict[str, Shaped]) -> Shape:
        return x[0]


def test_what_a_new_operator_lacks_is_named():
    class Nothing(FloatOp):
        pass

    class QNothing(QOp):
        pass

    found = list(lacking([Nothing], [QNothing]))
    assert len(found) == 4 + 1 + len(RULES) + 2
    for room in ("network/operators", "quantize/build_rules", "quantize/operators", *RULES, "docs/arithmetic.md"):
        assert any(line.startswith(room) and "Nothing" in line for line in found), room
    assert len(list(lacking([Double], [QDouble]))) == 2 + len(RULES)


@pytest.fixture
def doubling(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the files of a new operator would register, one room after the other."""

    def add(registry: Registry, key: object, entry: object) -> None:
        monkeypatch.setattr(registry, "_entries", {**{k: registry[k] for k in registry}, key: entry})

    def real(b: Builder, op: Double) -> str:
        return b.add(QDouble(op.name, (b.real(op.inputs[0]),)))

    def on_cpu(op: QDouble, c: Context) -> list[Call]:
        rows, channels = c.rows(op.inputs[0]), c.channels(op.inputs[0])
        arguments = Arguments().value(op.inputs[0]).value(op.inputs[0])
        name = f"add_r{rows}_c{channels}"
        return [arguments.call(name, lambda: build_add(rows, channels, c.isa), op.name, (rows, channels), "float32")]

    def on_gpu(op: QDouble, c: CudaContext) -> list[Launch]:
        (x,) = op.inputs
        out, sizes = c.add(op.name, "float32"), (c.rows(x), c.shapes[x][-1], False)
        return [
            Launch(f"add_r{sizes[0]}_c{sizes[1]}", builder(cuda_kernels.build_sum, *sizes), {"a": x, "b": x}, {}, ("out", out))
        ]

    add(network.OPERATORS, "Double", Double)
    add(operators.OPERATORS, "QDouble", QDouble)
    add(build_rules.REALS, Double, real)
    add(build_rules.PAYLOAD, Double, lambda model, op, floats: 0)
    add(reference_rules.RULES, QDouble, lambda op, t, x: x[0] + x[0])
    add(oracle.RULES, QDouble, lambda op, t, x: np.asarray(x[0] + x[0]))
    add(cpu.RULES, QDouble, on_cpu)
    add(cuda.RULES, QDouble, on_gpu)


def with_double(model: ImportedModel) -> ImportedModel:
    """The model with its stream doubled in the middle."""
    return insert(model, Double("double", ("blocks.0.add2",)), "blocks.0.add2")


@functools.cache
def plain_calibration() -> Calibration:
    """Of a tiny model whose heads GPUs have kernels for."""
    with tempfile.TemporaryDirectory() as folder:
        return calibrate(tiny_model(dim=32), [(tiny_images(16), None)], units=Units(Path(folder)), widths=(8,))


def doubled_calibration() -> Calibration:
    return dataclasses.replace(plain_calibration(), model=with_double(plain_calibration().model))


def test_a_new_operator_runs_everywhere(doubling, tmp_path):
    """Float network, file, oracle, reference, and kernels for a CPU and a GPU."""
    calibration, pixels = doubled_calibration(), tiny_images(3)
    model = calibration.model
    assert list(lacking([Double], [QDouble])) == []
    with torch.no_grad():
        x = normalize(pixels, model.input)
        assert not torch.allclose(run_float(model, x), run_float(plain_calibration().model, x), atol=1e-3)
        model.save(tmp_path / "model.st")
        assert torch.equal(run_float(ImportedModel.load(tmp_path / "model.st"), x), run_float(model, x))
    qm = quantize(calibration, uniform_plan(model, 8, 8))
    wanted = run_reference(qm, pixels, values=True)
    ours = run_oracle(qm, pixels)
    assert all(np.array_equal(ours[name], value) for name, value in wanted.items()) and "double" in wanted
    qm.save(tmp_path / "quantized.st")
    assert type(qm).load(tmp_path / "quantized.st").ops == qm.ops
    assert len(payload(qm)) > 0
    assert any(launch.out[1].name == "double" for launch in lower_cuda(qm, "sm_87").launches)
    isa = next((isa for isa in ("vbmi", "vnni", "avx2") if runs_here(isa)), None)
    if isa is None:
        assert any(call.value == "double" for call in lower(qm, "dotprod").calls)
        return
    sections, manifest = build(qm, target_of(isa))
    runner = Runner(Artifact(manifest, sections, sum(map(len, sections.values()))))
    assert runner(pixels).tobytes() == wanted[qm.output].tobytes()


def test_without_its_files_it_is_refused_by_name():
    calibration = doubled_calibration()
    with pytest.raises(UnsupportedError, match="double: no rule gives a float output of Double"):
        quantize(calibration, uniform_plan(calibration.model, 8, 8))
