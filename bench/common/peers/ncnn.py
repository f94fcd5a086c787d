"""ncnn: float, float in half precision where the core has it (ncnn's default), and int8."""

from __future__ import annotations

from pathlib import Path

import torch

from bench.common.peers.case import Case
from bench.common.peers.environment import Environment, execute
from bench.common.peers.ncnn_friendly import friendly
from bench.common.peers.ncnn_int8 import quantize
from bench.common.peers.peer import MISSING, Peer, Runner
from lampq_tvm.errors import LampqError
from lampq_tvm.quiet import quiet

# pnnx alone: its program reads TorchScript without the torch that its package asks for.
ENVIRONMENT = Environment(("ncnn", "numpy"), ("pnnx",))


def make(case: Case, target: str, folder: Path) -> None:
    """Write its files; the target does not matter.

    Raises:
        DeviceError: the converter cannot be installed, or refuses the model.
    """
    source = folder / "model.pt"
    with quiet(), torch.no_grad():
        torch.jit.trace(friendly(case.module()), torch.from_numpy(case.floats)).save(str(source))
    shape = ",".join(map(str, case.floats.shape))
    execute([str(ENVIRONMENT.site() / "pnnx" / "pnnx"), "model.pt", f"inputshape=[{shape}]", "fp16=0"], "pnnx", folder)
    for name in ("param", "bin"):
        (folder / f"model.ncnn.{name}").rename(folder / f"float.{name}")
    for left in [*folder.glob("model*"), *folder.glob("debug*")]:
        left.unlink()
    try:
        quantize(folder / "float.param", folder / "int8.param")
    except LampqError as e:
        (folder / f"int8.param{MISSING}").write_text(str(e), "utf-8")


RUNNERS = {
    "fp32": Runner("ncnn", "float.param"),
    "fp32, half precision": Runner("ncnn-half", "float.param"),
    "int8": Runner("ncnn-half", "int8.param"),
}
PEER = Peer("ncnn", RUNNERS, make, ("ncnn",), ENVIRONMENT)
