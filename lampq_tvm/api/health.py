"""`doctor`: what works here, and what would be refused."""

from __future__ import annotations

import dataclasses
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lampq_tvm.api.checks import check_output
from lampq_tvm.api.option import taking
from lampq_tvm.api.requests import DoctorRequest
from lampq_tvm.errors import LampqError
from lampq_tvm.scratch import workspace
from lampq_tvm.store import cache_dir

FFI_RANGE = ("0.1.14", "0.1.15")
PACKAGES = ("apache-tvm", "apache-tvm-ffi", "numpy", "torch", "torchvision", "timm", "onnx", "mip", "xgboost", "pillow")


@taking(DoctorRequest)
def doctor(request: DoctorRequest) -> dict[str, Any]:
    """What works here, and, for a model, its layers and what would be refused.

    Returns:
        `checks`: rows of name, ok, text; for a model also `layers`, `parts` (what stays float: name, operators, macs),
        `refused`, `parameters`, `gmacs`.

    Raises:
        UnsupportedError: the model is unknown, or has no attention layer.
    """
    checks = [_tvm_pair(), _host(), _writable(cache_dir()), _cuda_compilers(), _gpu()]
    checks += [{"name": name, "ok": _version(name) is not None, "text": _version(name) or "not installed"} for name in PACKAGES]
    if request.model is None:
        return {"checks": checks}
    from lampq_tvm.frontend.doctor import doctor as examine

    with workspace():
        found = examine(**{field.name: getattr(request, field.name) for field in dataclasses.fields(request)})
    layers = [
        {"name": r.name, "type": r.type, "shape": [r.out_features, r.in_features], "params": r.params, "macs": r.macs}
        for r in found.layers
    ]
    parts = [{"name": p.name, "operators": p.operators, "macs": p.macs} for p in found.parts]
    figures = {"parts": parts, "refused": list(found.refused), "parameters": found.parameters, "gmacs": found.gmacs}
    figures["weights"] = found.weights
    return {"checks": checks, "layers": layers, **figures}


def _version(name: str) -> str | None:
    """Version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _tvm_pair() -> dict[str, Any]:
    """TVM and its FFI must fit: 0.1.15 crashes every tuning context."""
    found = _version("apache-tvm-ffi")
    ok = _version("apache-tvm") is not None and found is not None and found.startswith(FFI_RANGE[0])
    text = "fit together" if ok else f"install apache-tvm==0.27.0.post1 and apache-tvm-ffi>={FFI_RANGE[0]},<{FFI_RANGE[1]}"
    return {"name": "TVM and its FFI", "ok": ok, "text": text}


def _host() -> dict[str, Any]:
    """Whether artifacts for `host` can be made and run here."""
    from lampq_tvm.targets import resolve_target

    try:
        host = resolve_target("host")
    except LampqError as e:
        return {"name": "target host", "ok": False, "text": str(e)}
    return {"name": "target host", "ok": True, "text": f"{host.isa}, {host.cores} cores"}


def _cuda_compilers() -> dict[str, Any]:
    """Which CUDA majors kernels can be compiled for."""
    from lampq_tvm.compiler.cuda.nvrtc import available

    majors = available()
    text = f"CUDA {', '.join(map(str, majors))}" if majors else "none: install lampq-tvm[compile] to compile for a GPU"
    return {"name": "CUDA compilers", "ok": bool(majors), "text": text}


def _gpu() -> dict[str, Any]:
    """Whether CUDA artifacts run here."""
    try:
        return {"name": "CUDA driver and device", "ok": True, "text": gpu_line()}
    except LampqError as e:
        return {"name": "CUDA driver and device", "ok": False, "text": str(e)}


def gpu_line() -> str:
    """This machine's GPU: name, arch, memory, and what its driver serves.

    Raises:
        DeviceError: there is no driver, or no device.
    """
    from lampq_tvm.device.cuda.driver import Driver

    driver = Driver()
    try:
        return driver.line
    finally:
        driver.close()


def _writable(folder: Path) -> dict[str, Any]:
    """Whether the cache can be written."""
    try:
        check_output(folder / "trial")
    except LampqError as e:
        return {"name": "cache", "ok": False, "text": str(e)}
    return {"name": "cache", "ok": True, "text": str(folder)}


def device_doctor(device: str | None = None) -> dict[str, Any]:
    """What a device says about itself.

    Raises:
        DeviceError: it cannot be reached.
    """
    from lampq_tvm.device.kinds import find_device

    return find_device(device).describe()
