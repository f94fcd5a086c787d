"""What the tool promises, tried at length."""

from __future__ import annotations

from bench.report.tables import load, percent, table


def equal_bits() -> str:
    """Every value of every operator against the reference."""
    rows = load("equal_bits")["rows"]
    places: dict[str, list[int]] = {}
    for row in rows:
        places.setdefault(row["where"], []).append(row["images"])
    lines = []
    for where, images in places.items():
        own = [row for row in rows if row["where"] == where]
        kinds = "; ".join(sorted({row["schedule"] for row in own}))
        lines.append([where, kinds, len(own), max(images), f"{max(r['values'] for r in own):,}", sum(r["differ"] for r in own)])
    return f"""## Equal bits

`python -m bench.trust.equal_bits`: every value of every operator and the logits of three plans (8 bits, 4 bits, a mixed
one with weights of 2 to 8 bits and log-sqrt2 attention at 4) against the torch reference; boards are emulated.
{len(rows)} cases:

{table(["where", "schedules and batches", "cases", "images", "values of a case, up to", "differ"], lines)}"""


def recipe_bits() -> str:
    """Every recipe on every kind of machine."""
    found = load("recipe_bits")["rows"]
    places = list(dict.fromkeys(row["where"] for row in found))
    lines = []
    for name in dict.fromkeys(row["recipe"] for row in found):
        own = [row for row in found if row["recipe"] == name]
        values = [sum(row["values"] for row in own if row["where"] == place) for place in places]
        same = ", ".join(own[0]["same"])
        lines.append(
            [f"{name}, {same}" if same else name, *(f"{n:,}" for n in values), sum(bool(row["differ"]) for row in own)]
        )
    widths = " and ".join(dict.fromkeys(f"{row['bits']}" for row in found))
    return f"""`python -m bench.trust.recipe_bits`: every recipe on a small ViT with random weights, all codes at {widths} bits;
values compared on the host, on emulated boards and for an Orin's GPU on the interpreter of its PTX (which keeps fewer values):

{table(["recipe", *places, "cases that differ"], lines)}"""


def sharing() -> str:
    """One loaded model shared by threads."""
    found = load("shared_runner")
    rows = [
        [r["what"], r["threads"], r["cores"], f"{r['calls']:,}", r["differ"], f"{r['calls_per_s']:,}"] for r in found["rows"]
    ]
    return f"""## One loaded model and many threads

`python -m bench.trust.shared_runner`: the demo's model at 8 bits; {found["loads"]} loads and closes grow by
{found["growth_kb"]} kB.

{table(["", "threads", "kernels' cores", "calls", "differ", "calls/s"], rows)}"""


def siege() -> str:
    """The device server under siege."""
    head = [
        "beside the client with the key",
        "sessions",
        "median, s",
        "longest, s",
        "longest call, s",
        "a killed session is gone after, s",
    ]
    keys = ("beside", "sessions", "median_s", "longest_s", "longest_call_s", "free_s")
    found = load("server_siege")
    return f"""## The device server under siege

`python -m bench.trust.server_siege`, {found["machine"]["cores"]} cores, {found["dropped"]:,} connections
dropped: a client with the key connects, uploads, calls and closes ([devices](devices.md)).

{table(head, [[row[key] for key in keys] for row in found["rows"]])}"""


def fuzz() -> str:
    """Mutated files of every kind."""
    found = load("fuzz")
    counts = ("readers", "accepted", "refused", "findings", "commands", "exit_0", "exit_other", "command_findings")
    rows = [[row["kind"], *(f"{row[count]:,}" for count in counts)] for row in found["rows"]]
    head = ["file", "through its reader", "taken", "refused", "findings", "through a command", "taken", "refused", "findings"]
    return f"""## Mutated files

`python -m bench.trust.fuzz`: each mutated file is read in a forked child. A finding is a traceback, a dead process, more
than 10 s, more than 2 GB above the imports, or a refusal that is not one line.

{table(head, rows)}"""


def company() -> str:
    """Commands at once in one cache, and killed ones."""
    found = load("company")
    facts = found["machine"]
    rows = [[row[key] for key in ("request", "runs", "failed", "hashes")] for row in found["rows"]]
    return f"""## Commands in each other's company

`python -m bench.trust.company`: {facts["rounds"]} rounds of {facts["commands"]} commands at once in an empty cache,
drawn from these requests, on {facts["cores"]} cores; then `compile host 4bit` killed at a random moment {facts["kills"]} times
and given again in the same cache, which got to its end {facts["ends_between_kills"]} times between the kills.
`different results` counts sha256 sums of what a request wrote.

{table(["request", "runs to the end", "failed", "different results"], rows)}"""


def calibration_images() -> str:
    """Few and poor calibration images."""
    found = load("calibration_images")
    names = {"demo": "the demo's", "deit_tiny": "DeiT-T, random weights"}
    rows = [
        [names[r["model"]], r["images"], *(None if r.get(k) is None else f"{r[k]:.3f}" for k in ("error8", "error4"))]
        + [None if r.get(k) is None else percent(r[k]) for k in ("top1_8", "top1_4")]
        + ["; ".join(line.split(";")[0] for line in r.get("printed", [])) or None]
        for r in found["rows"]
    ]
    head = ["model", "calibration images", "error at 8 bits", "at 4", "top-1 at 8, %", "at 4, %", "what was printed"]
    return f"""## Few and poor calibration images

`python -m bench.accuracy.calibration_images`: the distance of the integer network's logits to float's, in shares of their
spread over the classes; {found["poor_images"]} images of each poor set; {found["test_images"]} test images of the demo's model.

{table(head, rows)}"""
