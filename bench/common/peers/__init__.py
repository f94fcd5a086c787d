"""What this project is compared with: one file per peer, each making a `Peer`."""
