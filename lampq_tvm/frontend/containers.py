"""What a checkpoint file is, told by its content and never by its name, and what it holds, without running code from it."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open

from lampq_tvm.errors import UsageError
from lampq_tvm.quiet import quiet

T = TypeVar("T")

CONVERT = "convert it to safetensors where you trust it"
AGAIN = "download or write it again"
LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # torch.save before 1.6 starts with this number
HEAD_BYTES = 512
INDEX_BYTES = 16 << 20  # of a JSON file that are looked at
# What other files start with, and what to do about them.
OTHERS = (
    (b"version https://git-lfs", "a pointer of git LFS, not the file itself", "fetch it with `git lfs pull`"),
    (b"<!DOCTYPE", "a web page", "download the file itself"),
    (b"<html", "a web page", "download the file itself"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it"),
    (b"7z\xbc\xaf", "compressed by 7-Zip", "unpack it"),
    (b"\x89HDF", "an HDF5 file, as Keras writes", "save a torch state dictionary as safetensors"),
    (b"\x93NUMPY", "an array of numpy", "save a torch state dictionary as safetensors"),
    (b"GGUF", "a GGUF file, whose weights are quantized", "give the float weights as safetensors"),
)


def read_contents(path: Path) -> Mapping[Any, Any]:
    """Read a safetensors file or a torch file (zip archive or the older form), whatever its name is.

    Returns:
        Tensors by name; of a torch file also dictionaries of them and anything else that was saved beside them.

    Raises:
        UsageError: the file is missing, broken or another kind of file, or holds pickled code (which is not run).
    """
    match sniff(path):
        case "safetensors":
            return _safetensors(path, lambda f: {name: f.get_tensor(name) for name in f.keys()})  # noqa: SIM118
        case "zip":
            check_archive(path)
            # Mapped, a record never reaches beyond the file, whatever length the pickle claims for it.
            held = _torch_load(path, mmap=True)
        case _:
            held = _torch_load(path, mmap=False)
    if not isinstance(held, Mapping):
        what = f"the checkpoint holds no weights: it is {_kind(held)}"
        raise UsageError(what, where=str(path), hint="save model.state_dict()")
    return held


def read_metadata(path: Path) -> dict[str, str]:
    """The texts of a safetensors header; none where the file is a torch file.

    Raises:
        UsageError: as for `read_contents`.
    """
    return _safetensors(path, lambda f: dict(f.metadata() or {})) if sniff(path) == "safetensors" else {}


def sniff(path: Path) -> str:
    """`safetensors`, `zip` or `legacy`.

    Raises:
        UsageError: the file is missing or cannot be read, or is none of these.
    """
    where = str(path)
    try:
        if not path.is_file():
            reason = "is a folder" if path.is_dir() else "is no plain file" if path.exists() else "does not exist"
            raise UsageError(f"the checkpoint {reason}", where=where, hint="check the path")
        with path.open("rb") as f:
            head = f.read(HEAD_BYTES)
            begin = head if head.lstrip()[:1] != b"{" else head + f.read(INDEX_BYTES)
    except OSError as e:
        raise UsageError(f"the checkpoint cannot be read ({e.strerror})", where=where, hint="check its permissions") from e
    if head[:4] == b"PK\x03\x04":
        return "zip"
    if head[8:9] == b"{":
        return "safetensors"
    if head.startswith(LEGACY):
        return "legacy"
    if head[:1] == b"\x80" and head[1:2] <= bytes([pickle.HIGHEST_PROTOCOL]):
        raise UsageError("blocked: a plain pickle, that is pickled code, not a file of torch.save", where=where, hint=CONVERT)
    if head[257:262] == b"ustar":
        raise UsageError("a tar archive, not a checkpoint", where=where, hint="unpack it, or convert it to safetensors")
    for start, what, hint in OTHERS:
        if head.lstrip().startswith(start):
            raise UsageError(f"{what}, not a checkpoint", where=where, hint=hint)
    if head.lstrip()[:1] == b"{":
        what = "the index of a checkpoint in several files" if b"weight_map" in begin else "a JSON file"
        hint = "load them where they come from and save one safetensors file"
        raise UsageError(f"{what}, not a checkpoint", where=where, hint=hint)
    raise UsageError("not a whole safetensors or torch checkpoint", where=where, hint=AGAIN)


def check_archive(path: Path) -> None:
    """Refuse a zip archive that torch.save did not write, before any of it is unpacked.

    Raises:
        UsageError: it is broken, holds code or another kind of file, or unpacks to more than its own size.
    """
    where = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as e:
        raise UsageError(f"not a whole torch checkpoint ({e})", where=where, hint=AGAIN) from None
    names = {record.filename.partition("/")[2] for record in records}
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise UsageError("blocked: a TorchScript archive, which holds code", where=where, hint="save model.state_dict()")
    if any(name.startswith("models/") for name in names):
        raise UsageError("an exported program, not a checkpoint", where=where, hint="give it as MODEL, with --trust-model")
    if "data.pkl" not in names:
        raise UsageError("a zip archive that torch.save did not write", where=where, hint="save model.state_dict()")
    check_stored(path, records)


def check_stored(path: Path, records: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse an archive of torch's that would unpack to more than its own size.

    Raises:
        UsageError: a record is compressed, or they overlap.
    """
    packed = next((record.filename for record in records if record.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None or sum(record.file_size for record in records) > path.stat().st_size:
        what = f"its record {packed!r} is compressed" if packed else "its records are larger than the file"
        raise UsageError(f"{what}, which torch never writes", where=str(path), hint="save it again with torch")


def _safetensors(path: Path, use: Callable[[Any], dict[str, T]]) -> dict[str, T]:
    try:
        with safe_open(str(path), framework="pt") as f:
            return use(f)
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError, MemoryError) as e:
        raise UsageError(f"not a whole safetensors file ({e})", where=str(path), hint=AGAIN) from e


def _torch_load(path: Path, mmap: bool) -> Any:
    try:
        with quiet(), torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as f:
            # By its number: torch reads a file called .safetensors as one, whatever it holds, and maps only what has a name.
            source = f"/dev/fd/{f.fileno()}" if mmap else f
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as e:
        text = str(e)
        if "Unsupported" in text or "GLOBAL" in text or ("weights_only" in text and "not an allowed" in text):
            raise UsageError(f"blocked: the file holds pickled code{_named(path)}", where=str(path), hint=CONVERT) from None
        raise UsageError("not a whole torch checkpoint", where=str(path), hint=AGAIN) from None
    except Exception as e:  # damaged archives raise RuntimeError, EOFError, KeyError and others
        reason = next(iter(str(e).strip().splitlines()), type(e).__name__)[:200]
        raise UsageError(f"not a whole torch checkpoint ({reason})", where=str(path), hint=AGAIN) from e


def _named(path: Path) -> str:
    """The functions that a checkpoint would import, where torch can list them without running anything."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # only zip archives can be listed
        return ""
    return f" ({', '.join(sorted(names)[:3])})" if names else ""


def _kind(held: Any) -> str:
    return "a single tensor" if isinstance(held, torch.Tensor) else f"a {type(held).__name__}"
