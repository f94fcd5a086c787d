"""`lampq device`: serve this machine to others, emulate a board, look at devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lampq_tvm.cli import options as o

device = typer.Typer(help="Serve this machine as a device, emulate a board, look at devices.")


@device.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; loopback is reached through ssh -L.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 9190,
    key_file: Annotated[
        Path | None, typer.Option(help="File of the key; made where it is missing. [default: device.key in the cache]")
    ] = None,
    trust_network: Annotated[bool, typer.Option("--trust-network", help="Allow addresses beyond loopback.")] = False,
) -> None:
    """Serve this machine to `--device rpc://host:port` until interrupted; whoever has the key can run any code here."""
    from lampq_tvm.device.serve import serve as serve_device

    serve_device(host, port, key_file=key_file, trust_network=trust_network)


@device.command("emulate")
def emulate(
    board: Annotated[str, typer.Argument(help="The board to play.")] = "raspberry-pi-5",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 0,
) -> None:
    """Play an Arm board under qemu until interrupted; `--device emulated` uses it."""
    from lampq_tvm.device.emulate import emulate as emulate_board

    emulate_board(board, port)


@device.command("list")
def list_devices(json: o.Json = False) -> None:
    """What --device can name."""
    from lampq_tvm.api.looking import devices
    from lampq_tvm.cli.output import print_json, print_table

    rows = devices()
    if json:
        print_json({"devices": rows})
    else:
        print_table(("device", "times", "description"), [list(row.values()) for row in rows])


@device.command("doctor")
def doctor(
    name: Annotated[str | None, typer.Argument(help="As lampq device list says; this machine where left out.")] = None,
    key_file: o.KeyFile = None,
    json: o.Json = False,
) -> None:
    """Connect to a device and print what it says about itself."""
    o.use_key_file(key_file)
    from lampq_tvm.api.health import device_doctor
    from lampq_tvm.cli.output import print_json, print_table

    found = device_doctor(name)
    if json:
        print_json(found)
    else:
        print_table(("figure", "value"), [(k, " ".join(v) if isinstance(v, list) else v) for k, v in found.items()])
