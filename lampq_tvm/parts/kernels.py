"""The kernels of a part: its program imported as Relax, fused and scheduled, then taken apart into functions in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from torch import Tensor
from torch.export import ExportedProgram
from tvm import relax, te
from tvm.ir import Expr, GlobalVar, IRModule
from tvm.ir.expr import GenericConst
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter
from tvm.s_tir import dlight
from tvm.tirx import PrimFunc

from lampq_tvm.errors import UnsupportedError, is_bug
from lampq_tvm.kernels.builders import BUILDING
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.network.operators.float_part import Node, Sizes
from lampq_tvm.parts.batch_norm import folded
from lampq_tvm.parts.converters import CONVERTERS
from lampq_tvm.parts.legalize import rules
from lampq_tvm.parts.program import exported
from lampq_tvm.parts.schedules import Product, Rest
from lampq_tvm.quiet import quiet
from lampq_tvm.store import digest

POOL_ARGUMENTS = 7  # of an average pooling whose divisor is given, which TVM overlooks


@dataclass(frozen=True)
class Step:
    """One call of a kernel.

    Attributes:
        name: of the kernel: equal for equal functions.
        function: writes its last argument.
        reads: what the others are: inputs of the part by number, earlier steps by number behind those, constants by array.
        shape, dtype: of what it writes.
    """

    name: str
    function: PrimFunc
    reads: tuple[int | np.ndarray, ...]
    shape: tuple[int, ...]
    dtype: str


def part_steps(
    nodes: Sequence[Node], ins: Sequence[Sizes], constants: Mapping[str, Tensor], images: int, isa: str
) -> list[Step]:
    """The kernels of a part in order; the last one gives its output.

    Raises:
        UnsupportedError: TVM cannot import it.
    """
    try:
        with BUILDING, quiet():
            nodes, constants = folded(nodes, constants, len(ins))
            program = exported(nodes, ins, constants, images)
            return _steps(_lowered(_imported(program), isa), len(ins))
    except UnsupportedError:
        raise
    except Exception as e:  # importer and passes raise whatever their operators raise
        if is_bug(e) and isinstance(e, (NameError, ImportError)):
            raise
        operators = ", ".join(dict.fromkeys(node.operator for node in nodes))
        raise UnsupportedError(f"TVM makes no kernels of {operators} ({' '.join(str(e).split())[-200:]})") from e


def _imported(program: ExportedProgram) -> IRModule:
    """The program as Relax, each of whose values has the shape and the type that torch gives it."""
    importer: Any = ExportedProgramImporter()
    module: IRModule = importer.from_exported_program(program, False, True, False, CONVERTERS)
    for node, found in importer.env.items():
        if "avg_pool2d" in str(node.target) and len(node.args) == POOL_ARGUMENTS:
            raise UnsupportedError("average pooling with a divisor of its own")
        value, kind = node.meta.get("val"), getattr(found, "ty", None)
        if not isinstance(value, Tensor) or not isinstance(kind, relax.TensorType):
            continue
        told = str(value.dtype).removeprefix("torch."), list(value.shape)
        if told != (str(kind.dtype), [int(n) for n in kind.shape]):
            raise UnsupportedError(f"{node.target} of {told[0]} {told[1]}, which TVM takes for {kind.dtype}")
    return module


def _lowered(module: IRModule, isa: str) -> IRModule:
    lanes = LEVELS[isa].lanes
    height = 6 if isa == "avx2" else 10
    t = relax.transform
    passes = [
        t.DecomposeOpsForInference(),
        t.CanonicalizeBindings(),
        t.LegalizeOps(rules(2 * lanes, height)),
        t.AnnotateTIROpPattern(),
        t.FoldConstant(),
        t.DeadCodeElimination(),
        t.FuseOps(),
        t.FuseTIR(),
        t.DeadCodeElimination(),
        dlight.ApplyDefaultSchedule(Product(height), Rest(lanes)),
    ]
    with tvm.target.Target("llvm"):  # for what is folded here; the kernels are compiled with the rest of the network
        lowered: IRModule = tvm.transform.Sequential(passes)(module)
    return lowered


def _steps(module: IRModule, inputs: int) -> list[Step]:
    main = module["main"]
    places: dict[relax.Var, int] = dict(zip(main.params, range(inputs), strict=True))
    steps: list[Step] = []
    for binding in (b for block in main.body.blocks for b in block.bindings):
        value = binding.value
        if isinstance(value, relax.Var):
            places[binding.var] = places[value]
            continue
        if not isinstance(value, relax.Call) or not isinstance(value.args[0], GlobalVar):
            raise UnsupportedError(f"TVM has no kernel for {value.op if isinstance(value, relax.Call) else value}")
        variable, arguments = value.args[0], value.args[1]
        reads = tuple(_read(each, places) for each in arguments.fields)
        function = module[variable].without_attr("global_symbol")
        shape = tuple(int(n) for n in value.ty_args[0].shape)
        dtype = str(value.ty_args[0].dtype)
        name = f"float_{digest(function.script())[:12]}"
        steps.append(Step(name, function, reads, shape, dtype))
        places[binding.var] = inputs + len(steps) - 1
    if not steps and main.body.body not in places:
        raise UnsupportedError("a part of constants alone")
    return steps or [_copy(main)]


def _copy(main: relax.Function) -> Step:
    """A part that changes nothing but the shape, such as dropout."""
    (x,), shape = main.params, tuple(int(n) for n in main.ret_ty.shape)
    source = te.placeholder(tuple(int(n) for n in x.ty.shape), "float32", "x")
    function = te.create_prim_func([source, te.compute(shape, lambda *i: source(*i), "copy")])
    return Step(f"float_copy_{digest(shape)[:12]}", function, (0,), shape, "float32")


def _read(argument: Expr, places: Mapping[relax.Var, int]) -> int | np.ndarray:
    if isinstance(argument, GenericConst):
        array: np.ndarray = argument.value.numpy()
        return array
    return places[argument]
