"""Judges an ONNX file before any tensor is made of it: what its tensors claim, how large it grows, which names it uses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx.checker

from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.files import reason
from lampq_tvm.frontend.model_files import external_files, onnx_tensors

T = onnx.TensorProto
# Element types that become torch tensors: bytes of an element, and the field that holds them where raw_data does not.
TYPES = {
    T.FLOAT: (4, "float_data"),
    T.DOUBLE: (8, "double_data"),
    T.FLOAT16: (2, "int32_data"),
    T.INT8: (1, "int32_data"),
    T.UINT8: (1, "int32_data"),
    T.INT16: (2, "int32_data"),
    T.INT32: (4, "int32_data"),
    T.INT64: (8, "int64_data"),
    T.BOOL: (1, "int32_data"),
}
FIELDS = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data")
MAX_NODES = 200_000  # after its functions were put in their places
MAX_ELEMENTS = 1 << 40
SHARED = 2  # how often external bytes may be read, all together
AGAIN = "export it again"


def check_onnx(model: Any, path: Path) -> None:
    """Refuse a broken or hostile model.

    Args:
        model: onnx.ModelProto, external data not loaded.
        path: its file, for errors and for its external data.

    Raises:
        UsageError: it is broken, or lies about its tensors. UnsupportedError: it holds what is not served.
    """
    where = str(path)
    if any(isinstance(text, bytes) for text in _texts(model)):
        raise UsageError("a name or another text in it is not UTF-8", where=where, hint=AGAIN)
    if model.graph.sparse_initializer:
        raise UnsupportedError("the model holds sparse tensors", where=where, hint="export it with dense ones")
    names = [tensor.name for tensor in model.graph.initializer]
    if len(set(names)) != len(names) or not all(names):
        raise UsageError("two weights have one name, or one has none", where=where, hint=AGAIN)
    external_bytes = sum(_check_tensor(tensor, where) for tensor in onnx_tensors(model))
    held = sum(file.stat().st_size for file in external_files(path, model)) if external_bytes else 0
    if external_bytes > SHARED * held:
        what = f"its tensors claim {external_bytes} bytes of {held} bytes of external data"
        raise UsageError(what, where=where, hint=AGAIN)
    _check_growth(model, where)


def check_form(model: Any, where: str) -> None:
    """Let onnx's own checker judge a model whose external data was loaded: order of nodes, names, attributes.

    Raises:
        UsageError: the model is broken.
    """
    try:
        onnx.checker.check_model(model)
    except Exception as e:  # the checker and protobuf raise different kinds
        raise UsageError(f"not a readable ONNX file ({reason(e)})", where=where, hint=AGAIN) from e


def _texts(message: Any) -> Iterator[str | bytes]:
    """Every text of a message and of those within it; protobuf leaves one that is not UTF-8 as bytes."""
    for field, value in message.ListFields():
        values = [value] if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value
        if field.type == field.TYPE_STRING:
            yield from values
        elif field.type == field.TYPE_MESSAGE:
            for inner in values:
                yield from _texts(inner)


def _check_tensor(tensor: Any, where: str) -> int:
    """Bytes of external data that a tensor claims; refuse one whose data is not what its dtype and dims say."""
    at = f"{where}: {_shown(tensor.name)}"
    if tensor.data_type not in TYPES:
        kind = T.DataType.Name(tensor.data_type) if tensor.data_type in T.DataType.values() else tensor.data_type
        raise UnsupportedError(f"tensors of type {kind} are not supported", where=at, hint="export it in float32")
    size, field = TYPES[tensor.data_type]
    count = math.prod(tensor.dims)
    if min(tensor.dims, default=0) < 0 or count > MAX_ELEMENTS:
        raise UsageError("its dimensions are negative or overflow", where=at, hint=AGAIN)
    if tensor.data_location == T.EXTERNAL:
        told = {entry.key: entry.value for entry in tensor.external_data}
        length = told.get("length", str(count * size))
        if not length.isdecimal() or int(length) != count * size:
            raise UsageError(f"its external data is not the {count * size} bytes of its dimensions", where=at, hint=AGAIN)
        return int(count * size)
    lengths = {name: len(getattr(tensor, name)) for name in FIELDS if getattr(tensor, name)}
    expected = {} if tensor.HasField("raw_data") or not count else {field: count}
    raw = len(tensor.raw_data)
    if lengths != expected or (not expected and raw != count * size):
        what = f"its data is not the {count} elements of its dtype and dimensions"
        raise UsageError(what, where=at, hint=AGAIN)
    return 0


def _check_growth(model: Any, where: str) -> None:
    """Refuse functions that call themselves, or that grow beyond all bounds when they are put in their places."""
    functions = {(f.domain, f.name): f for f in model.functions}
    known: dict[tuple[str, str], int] = {}

    def size(nodes: Any, inside: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in _nodes(nodes):
            key = (node.domain, node.op_type)
            if key in inside:
                raise UsageError(f"function {_shown(node.op_type)} calls itself", where=where, hint=AGAIN)
            if key in functions and key not in known:
                known[key] = size(functions[key].node, (*inside, key))
            total += known.get(key, 1)
            if total > MAX_NODES:
                raise UnsupportedError(f"the model has more than {MAX_NODES} nodes", where=where)
        return total

    try:
        size(model.graph.node, ())
    except RecursionError:
        raise UsageError("its functions are nested too deeply", where=where, hint=AGAIN) from None


def _nodes(nodes: Any) -> Iterator[Any]:
    """Nodes with those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            graphs = [attribute.g] if attribute.HasField("g") else attribute.graphs
            for graph in graphs:
                yield from _nodes(graph.node)


def _shown(name: str) -> str:
    """A name as part of a message."""
    return f"{name[:60]}..." if len(name) > 60 else name or "a tensor without a name"
