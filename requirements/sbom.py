"""Writes `sbom.cdx.json` (CycloneDX), which ships in the wheel: what a board installs, and what a workstation adds to it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from lampq_tvm import __version__
from lampq_tvm.device.pins import read_pins

OWN = "lampq-tvm"
FOLDER = Path(__file__).resolve().parent

NAMESPACE = uuid.UUID("7f1c0b52-3d0c-5e8f-9d53-0d7a5b1b8a60")  # of serial numbers, which follow from the content


def component(name: str, version: str, scope: ComponentScope) -> Component:
    """One release."""
    purl = PackageURL("pypi", name=name, version=version)
    return Component(name=name, version=version, type=ComponentType.LIBRARY, scope=scope, purl=purl, bom_ref=str(purl))


def sbom() -> str:
    """The document as JSON."""
    board = {(p.name, p.version) for p in read_pins(FOLDER / "board.txt")}
    workstation = {(p.name, p.version) for p in read_pins(FOLDER / "workstation.txt")} - board
    licenses = [LicenseExpression("Apache-2.0")]
    own = Component(name=OWN, version=__version__, type=ComponentType.APPLICATION, bom_ref=OWN, licenses=licenses)
    required = [component(*p, ComponentScope.REQUIRED) for p in sorted(board)]
    optional = [component(*p, ComponentScope.OPTIONAL) for p in sorted(workstation)]
    serial = uuid.uuid5(NAMESPACE, repr((__version__, sorted(board), sorted(workstation))))
    bom = Bom(components=[*required, *optional], serial_number=serial)
    bom.metadata.component = own
    bom.register_dependency(own, [*required, *optional])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["metadata"]["timestamp"]  # equal pins give equal bytes
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    (FOLDER / "sbom.cdx.json").write_text(sbom(), "utf-8")
