"""Side-by-side comparisons, in folders by what is measured; each is a module: `python -m bench.speed.host_peers`."""
