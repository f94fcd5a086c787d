"""A part of the source model that no operator covers: torch's own operators, in float32."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self

ITEM = "getitem"  # one of several results
Sizes = tuple[int | dict[str, int], ...]


@dataclass(frozen=True)
class Node:
    """A call of one of torch's operators.

    Arguments are JSON, in which `{"value": i}` is a value (the part's inputs come first, then its nodes), `{"constant": field}`
    a tensor (with `"images": k` repeated along its first axis k times for every image), `{"images": k}` k times the number of
    images, `{"dtype": name}` a type.

    Attributes:
        target: `aten.conv2d.default`, or `getitem`.
    """

    target: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def operator(self) -> str:
        """Its name without namespace and overload."""
        return self.target.split(".")[1] if "." in self.target else self.target

    def function(self) -> Callable[..., Any]:
        """What it calls.

        Raises:
            UnsupportedError: torch has no such operator.
        """
        import operator

        import torch

        if self.target == ITEM:
            return operator.getitem
        namespace, name, overload = self.target.split(".")
        found = getattr(getattr(torch.ops.aten, name, None), overload, None) if namespace == "aten" else None
        if found is None:
            raise UnsupportedError(f"torch has no operator {self.target}", hint="import the model again")
        return found  # type: ignore[no-any-return]

    def __call__(self, values: Sequence[Any], constants: Mapping[str, Tensor], images: int) -> Any:
        """What it gives for values by number, constants by field and a number of images."""
        args, kwargs = self.mapped(lambda reference: decoded(reference, values, constants, images))
        return self.function()(*args, **kwargs)

    @property
    def values(self) -> set[int]:
        """Numbers of the values that it reads."""
        found: list[dict[str, Any]] = []
        self.mapped(found.append)
        return {reference["value"] for reference in found if "value" in reference}

    def mapped(self, change: Callable[[dict[str, Any]], Any]) -> tuple[list[Any], dict[str, Any]]:
        """Its arguments with every reference exchanged."""
        return [mapped(each, change) for each in self.args], {key: mapped(each, change) for key, each in self.kwargs.items()}


@OPERATORS.register("FloatPart")
@dataclass(frozen=True)
class FloatPart(FloatOp):
    """Nodes of the source model that compute one value from others, in float32; the last one gives it.

    Tensors: `{name}.c0`, `{name}.c1`, ... of any dtype.

    Attributes:
        ins, out: shapes of the inputs and of the output, with `{"images": k}` where k times the images lie: between two parts
            that may be another axis than the first.
    """

    nodes: tuple[Node, ...]
    ins: tuple[Sizes, ...]
    out: Sizes

    @classmethod
    def of_fields(cls, row: Mapping[str, Any]) -> Self:
        """From JSON values by field."""
        return cls(row["name"], tuple(row["inputs"]), *fields_of(row))

    @property
    def operators(self) -> dict[str, int]:
        """How often each operator occurs, in the order of their first."""
        names = [node.operator for node in self.nodes]
        return {name: names.count(name) for name in names}

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """As the source model gave it."""
        return one_image(self.out)

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """Its nodes one after the other."""
        return run_nodes(self.nodes, x, self.constants(tensors), images_of(self.ins[0], x[0].shape))


def fields_of(row: Mapping[str, Any]) -> tuple[tuple[Node, ...], tuple[Sizes, ...], Sizes]:
    """Nodes and shapes of a part from JSON values by field."""
    nodes = tuple(Node(node["target"], tuple(node["args"]), node["kwargs"]) for node in row["nodes"])
    return nodes, tuple(map(tuple, row["ins"])), tuple(row["out"])


def whole(sizes: Sizes, images: int) -> Shape:
    """A shape for a number of images."""
    return tuple(images * n["images"] if isinstance(n, dict) else n for n in sizes)


def one_image(sizes: Sizes) -> Shape:
    """A shape without the images."""
    return tuple(n["images"] if isinstance(n, dict) else n for n in sizes if n != {"images": 1})


def images_of(sizes: Sizes, shape: Sequence[int]) -> int:
    """The number of images that a value of a shape is of."""
    (axis,) = (i for i, n in enumerate(sizes) if isinstance(n, dict))
    return shape[axis] // sizes[axis]["images"]  # type: ignore[index]


def run_nodes(nodes: Sequence[Node], x: Sequence[Tensor], constants: Mapping[str, Tensor], images: int) -> Tensor:
    """The last node's value from the inputs, the constants by field and the number of images."""
    values: list[Any] = list(x)
    for node in nodes:
        values.append(node(values, constants, images))
    result: Tensor = values[-1]
    return result.contiguous()


def mapped(argument: Any, change: Callable[[dict[str, Any]], Any]) -> Any:
    """An argument with every reference in it exchanged."""
    if isinstance(argument, (list, tuple)):
        return [mapped(each, change) for each in argument]
    return change(argument) if isinstance(argument, dict) else argument


def decoded(reference: dict[str, Any], values: Sequence[Any], constants: Mapping[str, Tensor], images: int) -> Any:
    """What a reference stands for."""
    import torch

    if "value" in reference:
        return values[reference["value"]]
    if "constant" in reference:
        constant = constants[reference["constant"]]
        times = (images * reference["images"], *[1] * (constant.ndim - 1)) if "images" in reference else ()
        return constant.repeat(times) if times else constant
    return images * reference["images"] if "images" in reference else getattr(torch, reference["dtype"])
