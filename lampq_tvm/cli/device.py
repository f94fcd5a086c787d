"""`lampq device`: serve this machine to others, or emulate a board."""

from __future__ import annotations

from typing import Annotated

import typer

device = typer.Typer(help="Serve this machine as a device, emulate a board, look at devices.", no_args_is_help=False)


@device.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; loopback is reached through ssh -L.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 9190,
    key: Annotated[str, typer.Option(help="Word that clients must know.")] = "",
    trust_network: Annotated[bool, typer.Option("--trust-network", help="Listen beyond loopback.")] = False,
) -> None:
    """Serve this machine to `--device rpc://host:port`, until interrupted."""
    from lampq_tvm.device.serve import serve as serve_device

    serve_device(host, port, key=key, trust_network=trust_network)
