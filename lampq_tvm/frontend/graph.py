"""An exported program with its parameters bound: what the recognizer and the layer table walk over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.names import operator as operator
from lampq_tvm.frontend.passes.blocks import open_blocks
from lampq_tvm.frontend.passes.linears_apart import linears_apart
from lampq_tvm.frontend.passes.linears_first import linears_first
from lampq_tvm.frontend.passes.mutation import functional


class Graph:
    """Nodes of an exported program, the values of its placeholders, and where each node comes from.

    Attributes:
        program: the exported program.
        nodes: its FX nodes in execution order.
        bound: placeholder node -> parameter, buffer or constant.
        fqn: placeholder node -> its name in the source model (`blocks.0.attn.qkv.weight`).
        image: the placeholder of the network's input.
        results: the nodes that give the network's outputs.
        computed: nodes whose value depends on the image.

    Raises:
        UnsupportedError: several inputs, no output that is a tensor, or parameters that are not float32.
    """

    def __init__(self, program: ExportedProgram, where: str, parameters: Mapping[str, Tensor] | None = None) -> None:
        """Bind the program's own parameters, or those of `parameters` where they are named there."""
        program = functional(program)
        self.program, self.where = program, where
        open_blocks(program.graph_module, program.graph)
        self.bound: dict[fx.Node, Any] = {}
        self.fqn: dict[fx.Node, str] = {}
        own = {**dict(program.state_dict), **dict(program.constants)}
        specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
        for node in (n for n in program.graph.nodes if n.op == "placeholder"):
            spec = specs[node.name]
            if spec.kind is InputKind.USER_INPUT:
                self.image = node
                continue
            self.fqn[node] = str(spec.target)
            if str(spec.target) not in own:
                raise UnsupportedError(f"input {node.name} is no parameter, buffer or image", where=where)
            value = (parameters or {}).get(str(spec.target), own[str(spec.target)])
            self.bound[node] = value.detach().cpu() if isinstance(value, Tensor) else value
        linears_first(program.graph, self.image.meta["val"].shape[0])
        linears_apart(program.graph)
        self.nodes = [n for n in program.graph.nodes if n.op != "output"]
        self._check_float32()
        self.results = self._outputs()
        self.computed = self._computed()

    def _check_float32(self) -> None:
        for node, value in self.bound.items():
            if isinstance(value, Tensor) and value.is_floating_point() and value.dtype is not torch.float32:
                what = f"{self.fqn[node]} is {str(value.dtype).removeprefix('torch.')}"
                raise UnsupportedError(what, where=self.where, hint="export the model in float32")

    def _outputs(self) -> tuple[fx.Node, ...]:
        """Each once; whatever is no tensor of the image is left out."""
        outputs = next(n for n in self.program.graph.nodes if n.op == "output").args[0]
        kinds = [spec.kind for spec in self.program.graph_signature.output_specs]  # written inputs and buffers stand there too
        given = [n for n, kind in zip(outputs, kinds, strict=True) if kind is OutputKind.USER_OUTPUT]
        found = dict.fromkeys(n for n in given if isinstance(n, fx.Node) and isinstance(n.meta.get("val"), Tensor))
        if not found:
            raise UnsupportedError("the model has no output that is a tensor", where=self.where)
        return tuple(found)

    def _computed(self) -> set[fx.Node]:
        """Nodes with the image among what they are made of; lengths of its axes are no such thing."""
        computed = {self.image}
        for node in self.nodes:
            is_length = isinstance(node.meta.get("val"), (int, torch.SymInt, torch.SymBool))
            if not is_length and any(arg in computed for arg in node.all_input_nodes):
                computed.add(node)
        return computed

    def parameters(self) -> dict[str, Tensor]:
        """Trainable tensors by name (buffers and constants are not among them)."""
        names = set(self.program.graph_signature.parameters)
        return {self.fqn[n]: v for n, v in self.bound.items() if self.fqn[n] in names}

    def run(self, images: Tensor) -> tuple[Tensor, ...]:
        """The program's own outputs for `images`, with the bound parameters, in the images' type."""
        held = {n: v.to(images.dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for n, v in self.bound.items()}
        inputs = [images if n is self.image else held[n] for n in self.nodes if n.op == "placeholder"]
        places = next(n for n in self.program.graph.nodes if n.op == "output").args[0]
        with torch.no_grad():
            outputs = fx.Interpreter(self.program.graph_module).run(*inputs)
        return tuple(outputs[places.index(node)] for node in self.results)


def module_path(node: fx.Node) -> str:
    """Path of the module that a node comes from (`blocks.0.attn`); empty where none is known."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def parameter_name(graph: Graph, node: fx.Node) -> str:
    """Name of the first parameter that a constant node is made from; empty where there is none."""
    queue = [node]
    while queue:
        node = queue.pop(0)
        if node in graph.fqn:
            return graph.fqn[node]
        queue += node.all_input_nodes
    return ""
