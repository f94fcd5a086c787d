"""This project: three uniform plans and one that LampQ chose."""

from __future__ import annotations

from pathlib import Path

from bench.common.peers.case import CALIBRATION, Case
from bench.common.peers.peer import MISSING, Peer, Runner
from lampq_tvm.api.compiling import compile_pipeline
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.errors import LampqError

UNIFORM = {"8/8": (8, 8), "4/8": (4, 8), "4/4": (4, 4)}  # widths of weights and activations
PLANNED = "planned 4bit"
SENSITIVITY = 16  # images: random weights teach sensitivity nothing, but the plan mixes widths as a real one does
# Random weights bear few bits badly; the same logits as the reference to the bit is what the artifact's own gate asks.
LEAST = {"8/8": 0.95, "4/8": 0.5, "4/4": 0.3, PLANNED: 0.3}


def make(case: Case, target: str, folder: Path) -> None:
    """Compile the artifacts for the target; a reason takes the place of one that is refused."""
    for label in LEAST:
        output = folder / named(label)
        try:
            compile_one(case, target, label, output)
        except LampqError as e:
            output.with_name(output.name + MISSING).write_text(str(e), "utf-8")


def compile_one(case: Case, target: str, label: str, output: Path) -> None:
    """One artifact, calibrated on random images.

    Raises:
        LampqError: the model or the target is not served.
    """
    asked = Options(case.model, target=target, calib_images=CALIBRATION, sens_images=SENSITIVITY, budgets=("4bit",), seed=0)
    plan = None
    if label in UNIFORM:
        plan = output.with_suffix(".json")
        uniform_plan(Pipeline(asked).model, *UNIFORM[label]).save(plan)
    compile_pipeline(Pipeline(asked, plan), output)


def named(label: str) -> str:
    """File of a variant."""
    return f"{label.replace('/', '-').replace(' ', '-')}.lampq"


PEER = Peer("lampq", {label: Runner("lampq", named(label), least) for label, least in LEAST.items()}, make, foreign=False)
