"""`docs/results.md`: every figure that has a file."""

from __future__ import annotations

import textwrap

from bench.report import accuracy, allocations, cuda, estimates, limits, recipes, speed, trust, workstation
from bench.report.tables import load

SECTIONS = (
    trust.equal_bits,
    trust.recipe_bits,
    accuracy.fashion_mnist,
    recipes.recipes,
    allocations.allocations,
    allocations.libraries,
    allocations.features,
    allocations.factored,
    speed.host,
    speed.arm,
    speed.lookups,
    speed.threads,
    speed.batches,
    speed.widths,
    limits.limits,
    limits.long,
    estimates.plans,
    estimates.additivity,
    estimates.against_mca,
    estimates.hot_blocks,
    cuda.times,
    cuda.candidates,
    cuda.paper,
    workstation.tuning,
    workstation.compile_times,
    workstation.choosing,
    workstation.families,
    workstation.solver,
    workstation.busy,
    trust.calibration_images,
    trust.fuzz,
    trust.company,
    trust.sharing,
    trust.siege,
)
WIDTH = 120
UNPROVEN = """## What has not been measured

- any real Arm board: no board was at hand, Arm rows are instruction counts of one emulated core;
- any Jetson's GPU ([ten minutes on your Jetson](jetson.md) is how a board's owner fills that table);
- AMX: no such machine, so there is no level for it;
- ImageNet accuracy of published checkpoints: their weights need a network; `--pretrained` and `--checkpoint` are the same road;
- on the H200 torch beside us for DeiT-S and ViT-B, and every family but vit and deit."""


def wrapped(text: str) -> str:
    r"""The text with its plain paragraphs at one width; headings, tables, lists and comments stay as they are.

    >>> print(wrapped("# A heading\n\none\ntwo\n\n| a | b |"))
    # A heading
    <BLANKLINE>
    one two
    <BLANKLINE>
    | a | b |
    """
    whole = [textwrap.TextWrapper(WIDTH, break_long_words=False, break_on_hyphens=False).fill(p) for p in text.split("\n\n")]
    return "\n\n".join(p if p.startswith(("#", "|", "-", "<")) else w for p, w in zip(text.split("\n\n"), whole, strict=True))


def page() -> str:
    """The text of `docs/results.md`."""
    machine = load("host_peers")["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    head = f"""<!-- Written by `python -m bench.report.pages`; change that, or the figures, and not this page. -->

# Results

Every table comes from the script named above it and from its file in `bench/results/`, which says on which machine and
with which versions. Unless a section says otherwise that was one machine of {machine["cores"]} cores of an
{machine["cpu"]} (AVX-512 VNNI and VBMI), shared and noisy, so compare rows of one table only ({versions}). `measured`
is a clock's word, `estimated` is worked out from counted instructions or figures of a chip."""
    return wrapped("\n\n".join([head, *(section() for section in SECTIONS), UNPROVEN])) + "\n"
