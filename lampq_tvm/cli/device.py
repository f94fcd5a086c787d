"""`lampq device`: serve this machine to others, emulate a board, look at devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lampq_tvm.api.groups import KeyOptions
from lampq_tvm.api.option import Group, Option
from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form

device = typer.Typer(help="Serve this machine as a device, emulate a board, look at devices.")


@dataclass(frozen=True, kw_only=True)
class ServeRequest(Group):
    """Of `device serve`."""

    host: Annotated[str, Option("Address to listen on; loopback is reached through ssh -L.")] = "127.0.0.1"
    port: Annotated[int, Option("Port; 0 takes a free one.")] = 9190
    key_file: Annotated[
        Path | None, Option("File of the key; made where it is missing. [default: device.key in the cache]")
    ] = None
    trust_network: Annotated[bool, Option("Allow addresses beyond loopback.")] = False


@dataclass(frozen=True, kw_only=True)
class EmulateRequest(Group):
    """Of `device emulate`."""

    board: Annotated[str, Option("The board to play.", argument=True)] = "raspberry-pi-5"
    port: Annotated[int, Option("Port; 0 takes a free one.")] = 0


@dataclass(frozen=True, kw_only=True)
class DeviceDoctorRequest(KeyOptions):
    """Of `device doctor`."""

    name: Annotated[str | None, Option("As lampq device list says; this machine where left out.", argument=True)] = None


@device.command("serve")
@command
def serve(request: ServeRequest) -> None:
    """Serve this machine to `--device rpc://host:port` until interrupted; whoever has the key can run any code here."""
    from lampq_tvm.device.serve import serve as serve_device

    serve_device(**vars(request))


@device.command("emulate")
@command
def emulate(request: EmulateRequest) -> None:
    """Play an Arm board under qemu until interrupted; `--device emulated` uses it."""
    from lampq_tvm.device.emulate import emulate as emulate_board

    emulate_board(**vars(request))


@device.command("list")
@command
def list_devices(form: Form) -> None:
    """What --device can name."""
    from lampq_tvm.api.looking import devices
    from lampq_tvm.cli.output import print_json, print_table

    rows = devices()
    if form.json:
        print_json({"devices": rows})
    else:
        print_table(("device", "times", "description"), [list(row.values()) for row in rows])


@device.command("doctor")
@command
def doctor(request: DeviceDoctorRequest, form: Form) -> None:
    """Connect to a device and print what it says about itself."""
    from lampq_tvm.api.health import device_doctor
    from lampq_tvm.cli.output import print_json, print_table

    found = device_doctor(request.name)
    if form.json:
        print_json(found)
    else:
        print_table(("figure", "value"), [(k, " ".join(v) if isinstance(v, list) else v) for k, v in found.items()])
