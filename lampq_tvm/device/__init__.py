"""Where an artifact runs: this machine, the emulated board, a board's RPC server."""
