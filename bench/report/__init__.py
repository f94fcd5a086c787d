"""Writes figures into pages: `docs/results.md` and the README's blocks, from `bench/results/` and `schedules/`."""
