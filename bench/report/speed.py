"""How fast models run: milliseconds here, instructions on emulated boards."""

from __future__ import annotations

from collections.abc import Callable

from bench.report.tables import SHORT, Row, bold, figure, load, one, ratio, table

BASE = "vit_base_patch16_224"
MODELS = ["deit_tiny_patch16_224", "deit_small_patch16_224", "swin_tiny_patch4_window7_224", BASE]
HOST = {
    "lampq 8/8": "ours 8/8",
    "lampq 4/8": "ours 4/8",
    "lampq 4/4": "ours 4/4",
    "lampq planned 4bit": "ours, LampQ at 4 bits",
    "lampq before 8/8": "ours 8/8 before the last round of work on kernels",
    "openvino int8": "OpenVINO int8 (NNCF)",
    "openvino float": "OpenVINO, its own choice (bfloat16 here)",
    "onnxruntime int8 dynamic, S8 weights": "ONNX Runtime int8 dynamic, S8 weights",
    "onnxruntime int8 static QDQ, weighted products alone": "ONNX Runtime int8 static QDQ, weighted products",
    "onnxruntime fp32": "ONNX Runtime fp32",
    "torch fp32": "torch fp32",
}
OURS = {k: v for k, v in HOST.items() if k.startswith("lampq") and "before" not in k}
PEERS = {
    "ncnn int8": "ncnn int8",
    "litert int8 static": "XNNPACK (LiteRT) int8 static",
    "onnxruntime int8": "ONNX Runtime int8, its best",
    "fp32": "fp32, the best of them",
}
AIM = 0.6  # of the best peer's instructions
BOARDS = {
    "raspberry-pi-5": "dot product (Raspberry Pi 5)",
    "raspberry-pi-4": "plain NEON (Raspberry Pi 4)",
    "jetson-agx-thor": "int8 matrix multiply (Jetson AGX Thor's cores)",
}


def host() -> str:
    """Milliseconds on this machine."""
    rows, lines = load("host_peers")["rows"], list[list[str]]()

    def cells(runner: str, key: str, show: Callable[[float], str]) -> list[str]:
        return [" / ".join(show(one(rows, model=m, threads=t, runner=runner)[key]) for t in (1, 2)) for m in MODELS]

    for runner, label in HOST.items():
        lines.append(bold([label, *cells(runner, "value", figure)], runner in OURS))
    lines.append(["ours 8/8 over the best peer", *cells("lampq 8/8", "of_best", ratio)])
    columns = ["milliseconds, measured, on one thread / on two", *(SHORT[model] for model in MODELS)]
    counts = sorted({row["n"] for row in rows if "n" in row})
    return f"""## Speed on this machine

`python -m bench.speed.host_peers --before TREE`: batch 1, random weights, medians of {" to ".join(map(str, counts))} runs, all
runners taking turns, those of an older checkout too; shipped records for AVX-512.

{table(columns, lines)}

ONNX Runtime's two threads wait for each other here more than they help; its rows are as they came."""


def best(rows: list[Row], model: str, board: str, runner: str) -> float:
    """Million instructions of the best runner whose name begins so; `fp32`: of every float one."""
    here = [row for row in rows if (row["model"], row["where"]) == (model, f"emulated {board}") and "value" in row]
    fits = [row["value"] for row in here if ("fp32" in row["runner"] if runner == "fp32" else row["runner"].startswith(runner))]
    return min(fits)


def arm() -> str:
    """Instructions on emulated Arm boards."""
    found = load("arm_peers")
    rows, parts, reached = found["rows"], [], 0
    alone: dict[str, float] = {}
    counts = {row["model"]: row for row in load("kernel_counts")["rows"] if row["isa"] == "dotprod"}
    for board, title in BOARDS.items():
        lines = []
        for runner, label in {**OURS, **PEERS}.items():
            cells = [figure(best(rows, model, board, runner)) for model in MODELS]
            lines.append(bold([label, *cells], runner in OURS))
        peers = [min(best(rows, model, board, runner) for runner in PEERS) for model in MODELS]
        for runner in ("lampq 8/8", "lampq 4/4"):
            shares = [best(rows, model, board, runner) / peer for model, peer in zip(MODELS, peers, strict=True)]
            lines.append([f"{OURS[runner]} over the best peer", *map(ratio, shares)])
            reached += sum(share <= AIM for share in shares) if runner == "lampq 8/8" else 0
        if board == "raspberry-pi-5":
            floors = [counts[name]["sdot_floor"] for name in ("deit_tiny", "deit_small", "swin_tiny", "vit_base")]
            alone = {SHORT[m]: floor / peer for m, floor, peer in zip(MODELS, floors, peers, strict=True)}
            lines.append(["`sdot` alone, no loads, nothing around it", *map(figure, floors)])
        parts.append(
            f"{title[0].upper()}{title[1:]}:\n\n" + table(["million instructions", *(SHORT[m] for m in MODELS)], lines)
        )
    missing = sum("value" not in row for row in rows)
    tables = "\n\n".join(parts)
    return f"""## Instructions on emulated Arm boards

`python -m bench.speed.arm_peers`: one inference on one core, whole runs with the runtime, million instructions, **which
are no times**; {len(rows) - missing} of {len(rows)} rows counted (ncnn's half precision on ViT-B is missing). Our
kernels alone, one by one, with look-ups of 2-bit weights: `python -m bench.speed.kernel_counts`.

{tables}

We aimed at {AIM}x of the best peer at 8/8: {reached} of {len(BOARDS) * len(MODELS)} columns reach it. With a dot
product it cannot be met on DeiT-S and ViT-B: `sdot` alone, 16 multiply-adds an instruction, is {alone["DeiT-S"]:.2f}x
and {alone["ViT-B"]:.2f}x of the best peer there, before a single load. On plain NEON 4/8 and 4/4 meet it: products of few
bits add in 16 bits or bytes there, so fewer bits run fewer instructions; elsewhere they save memory alone."""


def lookups() -> str:
    """Weights of 2 bits on plain NEON, looked up."""
    rows = load("kernel_counts")["rows"]
    lines = []
    for model, label in (("deit_tiny", "DeiT-T"), ("deit_small", "DeiT-S"), ("vit_base", "ViT-B"), ("swin_tiny", "Swin-T")):
        pairs = [(8, 8), (4, 8), (4, 4), (2, 4)]
        cells = [figure(one(rows, model=model, isa="neon", w_bits=w, a_bits=a)["million"]) for w, a in pairs]
        lines.append([label, *cells])
    head = ["our kernels alone, million instructions", "8/8", "4/8", "4/4", "2/4, weights looked up"]
    return f"Plain NEON, by widths of weights / activations (`bench.speed.kernel_counts`):\n\n{table(head, lines)}"


def threads() -> str:
    """What 2 to 12 threads cost."""
    found = load("threads")
    whole = [row for row in found["rows"] if row["threads"] > 1 and row["kernel"] == "whole"]
    lines = [[r["isa"], r["threads"], f"{r['relative']:.3f}", f"{r['balance']:.2f}", r["barriers"]] for r in whole]
    return f"""## Threads

`python -m bench.speed.threads`: {found["model"].replace("_", " ")}'s kernels counted task by task on an emulated core, waiting
threads asleep: all instructions of the threads over those of one, the largest share over the mean, and the parallel loops
of an inference, at each of whose ends threads wait.

{table(["level", "threads", "instructions", "largest share", "barriers"], lines)}"""


def batches() -> str:
    """Time of an image at batches of several."""
    found = load("batches")["rows"]
    sizes = sorted({row["batch"] for row in found})
    lines = []
    for model, widths, threads in dict.fromkeys((row["model"], row["widths"], row["threads"]) for row in found):
        own = [one(found, model=model, widths=widths, threads=threads, batch=size) for size in sizes]
        cells = [f"{figure(row['ms_an_image'])} ({row['of_one']:.2f})" for row in own]
        lines.append([f"{model.replace('_', ' ')} {widths}", threads, *cells])
    return f"""## Batches

`python -m bench.speed.batches`: milliseconds an image on this machine (in brackets: of batch 1), artifacts taking turns.

{table(["", "threads", *(f"batch {size}" for size in sizes)], lines)}"""


def widths() -> str:
    """Products at every width of weights, and the largest ratio of a narrow pair to a wider one."""
    found = load("widths")["rows"]
    columns, worst = [f"{bits}/8" for bits in range(8, 1, -1)], list[str]()
    lines = []
    for row in found:
        shown = [f"{row[pair]:.2f}" if row["unit"] == "ms" else figure(row[pair]) for pair in columns]
        lines.append([row["level"], f"`{row['layer']}`", row["unit"], *shown])
    for level in dict.fromkeys(row["level"] for row in found):
        row = max((row for row in found if row["level"] == level), key=lambda r: r["slower"])
        worst.append(f"{level} {row['slower']:.3f} (`{row['layer']}` at {row['at']})")
    model = load("widths")["model"].replace("_", " ")
    return f"""## Fewer bits and more

`python -m bench.speed.widths`: one call of each product of {model} by bits of weights, activations at 8 bits; the
least of several turns on one thread here, instructions on emulated boards. The largest ratio of any pair of
widths from 2/2 to 8/8 to a pair with no fewer bits: {"; ".join(worst)}.

{table(["level", "layer", "unit", *columns], lines)}"""
