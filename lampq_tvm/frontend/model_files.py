"""Which files are read for a MODEL: what names one is decided here alone, for the importer and for the keys of its results."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from lampq_tvm.errors import UsageError
from lampq_tvm.files import read_bytes, reason
from lampq_tvm.frontend.hugging_face.folder import is_folder, open_folder

if TYPE_CHECKING:
    from onnx import TensorProto

FILES = (".pt2", ".onnx")
BLOCK_BYTES = 1 << 20
MAX_ONNX_BYTES = (2 << 30) - 1  # of a protobuf message


def file_suffix(model: str) -> str | None:
    """`.pt2` or `.onnx`, however it is written, where MODEL names a file; None for a timm name."""
    suffix = Path(model).suffix.lower()
    return suffix if suffix in FILES else None


def lies_in_files(model: str) -> bool:
    """Whether MODEL names a file or a folder, and no model of timm's."""
    return file_suffix(model) is not None or is_folder(model)


def model_files(model: str) -> tuple[Path, ...]:
    """Every file whose bytes are read for a MODEL that names a file or a folder; none for a timm name.

    Raises:
        UsageError: one is missing, broken, or lies where it must not. UnsupportedError: the folder holds a quantized model.
    """
    suffix = file_suffix(model)
    if suffix is None:
        return open_folder(model).files if is_folder(model) else ()
    path = Path(model)
    check_file(path, "the model")
    return (path, *external_files(path)) if suffix == ".onnx" else (path,)


def check_file(path: Path, what: str) -> None:
    """Raise UsageError unless `path` is a file that can be read."""
    try:
        if not path.is_file():
            reason = "is a folder" if path.is_dir() else "does not exist"
            raise UsageError(f"{what} {reason}", where=str(path), hint="check the path")
        with path.open("rb"):
            pass
    except OSError as e:
        raise UsageError(f"{what} cannot be read ({e.strerror})", where=str(path), hint="check its permissions") from e


def read_onnx(path: Path) -> Any:
    """The message of an ONNX file, its external data left where it is.

    Raises:
        UsageError: the file is missing, too large, or none.
    """
    import onnx

    raw = read_bytes(path, "the model", MAX_ONNX_BYTES, hint="export it with its weights as external data")
    try:
        return onnx.load_from_string(raw)
    except Exception as e:  # protobuf raises kinds of its own
        raise UsageError(f"not a readable ONNX file ({reason(e)})", where=str(path), hint="export it again") from e


def external_files(path: Path, model: Any = None) -> tuple[Path, ...]:
    """The files beside an ONNX file that hold tensors of it, each once, by name.

    Args:
        model: its message, where it was read already.

    Raises:
        UsageError: the file is broken, or such a file is missing, cut short, or outside the file's own folder.
    """
    from onnx import TensorProto

    tensors = onnx_tensors(read_onnx(path) if model is None else model)
    return tuple(sorted({_external_file(path, t) for t in tensors if t.data_location == TensorProto.EXTERNAL}))


def onnx_tensors(message: Any) -> Iterator[TensorProto]:
    """Every tensor of a protobuf message, wherever it stands."""
    from onnx import TensorProto

    for _, value in message.ListFields():
        repeated = not isinstance(value, str | bytes | int | float) and not hasattr(value, "ListFields")
        for item in value if repeated else [value]:
            if not hasattr(item, "ListFields"):
                break  # numbers and texts hold nothing
            if isinstance(item, TensorProto):
                yield item
            else:
                yield from onnx_tensors(item)


def _external_file(model: Path, tensor: TensorProto) -> Path:
    """The file that holds a tensor's data, checked."""
    told = {entry.key: entry.value for entry in tensor.external_data}
    name, where = told.get("location", ""), f"{model}: {tensor.name}"
    parts = PurePosixPath(name).parts
    leaves = not parts or ".." in parts or PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).anchor)
    path: Path = model.parent / name
    if leaves or not path.resolve().is_relative_to(model.parent.resolve()):
        hint = "export it again, with its data beside it"
        raise UsageError(f"its external data ({name!r}) lies outside the model's folder", where=where, hint=hint)
    check_file(path, "the model's external data")
    try:
        start, size = int(told.get("offset") or 0), int(told.get("length") or 0)
    except ValueError:
        start, size = -1, -1
    if min(start, size) < 0 or start + size > path.stat().st_size:
        what = f"its bytes {start}..{start + size} of {name} are not there, the file has {path.stat().st_size}"
        raise UsageError(what, where=where, hint="copy the model's files again, all of one export")
    return path


def file_digest(path: Path) -> str:
    """Hex sha256 of a file's content.

    Raises:
        UsageError: it cannot be read.
    """
    h = hashlib.sha256()
    try:
        with path.open("rb") as f:
            while block := f.read(BLOCK_BYTES):
                h.update(block)
    except OSError as e:
        raise UsageError(f"cannot be read ({e.strerror})", where=str(path), hint="check its permissions") from e
    return h.hexdigest()
