"""Instructions of one inference on emulated Arm boards: this project beside ONNX Runtime, ncnn and XNNPACK (through LiteRT).

    python -m bench.speed.arm_peers            (figures in bench/results/arm_peers.json)
    python -m bench.speed.arm_peers --kept     (the same from the counts that were made before; the rest is named)

A count is one thread's instructions of one more inference, the second of a process: the same in every run, and no time. Weights
are random, which no count depends on. Every runner's logits are compared with torch's in float; one that computes something
else, or cannot be had, is a row with the reason.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.common.peers import lampq, litert, ncnn, onnxruntime
from bench.common.peers.case import MODELS, Case
from bench.common.peers.peer import WORKER, Peer, Runner
from bench.common.peers.rows import COLUMNS, Row, judged, with_ratios
from bench.common.run import Pieces, arguments, finish, machine
from lampq_tvm.device.count import counting_environment
from lampq_tvm.device.emulate import EmulatedBoard
from lampq_tvm.errors import DeviceError, LampqError

PEERS = {module.PEER.name: module.PEER for module in (onnxruntime, litert, ncnn, lampq)}
BOARDS = ["raspberry-pi-5", "raspberry-pi-4", "jetson-agx-thor"]  # dot product, plain NEON, i8mm
LIMIT_S = 3600
UNCOUNTED = "not counted yet"


class Counter:
    """Counts on one board, each done once.

    Args:
        board: its name; of a board with a GPU the Arm cores are meant.
        kept: folder of finished counts.
        fresh: whether to count what is not in there.
    """

    def __init__(self, board: str, kept: Path, fresh: bool = True) -> None:
        self.board, self.kept, self.fresh = EmulatedBoard(board), kept, fresh
        self.target = f"{board}:cpu" if self.board.board.gpu else board

    def rows(self, case: Case, peer: Peer) -> list[Row]:
        """A row for each runner of a peer."""
        made = self.fresh or peer.folder(case, self.target).exists()
        files, rows = peer.files(case, self.target) if made else dict.fromkeys(peer.runners, UNCOUNTED), []
        for label, runner in peer.runners.items():
            name, file = f"{peer.name} {label}", files[label]
            row: Row = {"model": case.model, "where": self.board.name, "threads": 1, "runner": name, "kind": "estimated"}
            try:
                if isinstance(file, str):
                    row["missing"] = file
                else:
                    row |= judged(self.count(case, peer, runner, file), case, runner)
            except LampqError as e:
                row["missing"] = str(e)
            print(f"{case.model}, {self.target}, {name}: {row.get('value', row.get('missing'))}", file=sys.stderr, flush=True)
            rows.append({**row, "unit": "M instructions"})
        return rows

    def count(self, case: Case, peer: Peer, runner: Runner, file: Path) -> Row:
        """Value and logits of a runner.

        Raises:
            DeviceError: it does not run on the board.
        """
        core = self.board.board.arm.model_dump(include={"qemu", "features", "part", "implementer"})  # all that a runner sees
        pieces = Pieces(self.kept, peer.key(self.target), WORKER.read_text("utf-8"), core, own=False)
        site = peer.site(self.board)

        words = [str(WORKER), "count", str(site or "-"), runner.kind, str(file), str(case.images)]

        def measure() -> Row:
            if not self.fresh:
                raise DeviceError(UNCOUNTED)
            with tempfile.TemporaryDirectory(prefix="lampq-peers-") as folder:
                out, env = Path(folder) / "logits.npy", counting_environment(self.board, Path(folder) / "instructions")
                done = self.board.run_python([*words, str(out), "1"], env=env, timeout_s=LIMIT_S)
                if done.returncode != 0:
                    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
                    raise DeviceError(f"it fails ({reason[:200]})", where=self.board.name)
                count = int(done.stdout.splitlines()[-1])
                return {"value": count / 1e6, "logits": np.load(out).ravel().tolist()}

        found: Row = pieces.get(f"{case.model}-{self.target.replace(':', '-')}-{runner.kind}-{file.name}", measure)
        return found


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "arm_peers")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--boards", nargs="+", default=BOARDS)
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--kept", action="store_true", help="count nothing anew")
    args = parser.parse_args()
    facts, rows, peers = machine(), [], [PEERS[name] for name in args.peers]
    for model in args.models:
        case = Case(model, args.work / model)
        for board in args.boards:
            counter = Counter(board, args.work / "counts", fresh=not args.kept)
            rows += with_ratios([row for peer in peers for row in counter.rows(case, peer)])
    finish(args.output, COLUMNS, rows, machine=facts, peers={peer.name: peer.versions() for peer in peers})


if __name__ == "__main__":
    main()
