"""How much worse, or better, two layers are together than apart: pairs of neighbours, measured.

To second order KL(float || i and j quantized) = KL_i + KL_j + E[a_i a_j], a_i and a_j what each does to the log-likelihood.
What is kept is r_ij = E[a_i a_j] / sqrt(KL_i KL_j), within -2 .. 2 by Cauchy and Schwarz; at other widths than those that it
is measured at the term is taken as r_ij sqrt(L_i L_j), L the layers' losses there.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from lampq_tvm.calibrate.fake import quantized_layer
from lampq_tvm.network.execute import Replacement
from lampq_tvm.progress import track
from lampq_tvm.sensitivity.context import Context
from lampq_tvm.sensitivity.criteria import divergence
from lampq_tvm.sensitivity.float_run import FloatRun
from lampq_tvm.sensitivity.pairs import Term
from lampq_tvm.sensitivity.pieces import Piece, spread_pieces

F64 = npt.NDArray[np.float64]
PROBE = 3  # bits at which pairs are measured, or the nearest that a plan may take
REACH = 4  # layers: a pair's places in the layer table lie no further apart
LEAST = 0.1  # share of the layers' own losses that no terms take away


def measured_terms(context: Context) -> list[Term]:
    """r of every two layers that are near each other."""
    layers = context.calibration.model.layers
    pairs = [(i, j) for i, j in itertools.combinations(range(len(layers)), 2) if j - i <= REACH]
    probes = [
        min(choices, key=lambda pair: (abs(pair[0] - PROBE) + abs(pair[1] - PROBE), pair))
        for choices in context.pairs.of_layers(layers, context.widths)
    ]
    functions: dict[int, Replacement] = {
        i: quantized_layer(context.calibration, layer.name, *probe)
        for i, (layer, probe) in enumerate(zip(layers, probes, strict=True))
    }

    def of_piece(piece: Piece) -> F64:
        name = f"interactions/{probes}/{REACH}/{piece.key}"
        return context.units.get(name, lambda: {"loss": _losses(context, piece, functions, pairs)})["loss"]

    total = np.zeros(len(layers) + len(pairs))
    for part in track(spread_pieces(context.calibration.model, context.batches, context.jobs, of_piece), "interactions"):
        total += part / context.images
    alone, together = np.maximum(total[: len(layers)], 1e-12), total[len(layers) :]
    scale = [np.sqrt(alone[i] * alone[j]) for i, j in pairs]
    ratios = [(both - alone[i] - alone[j]) / s for (i, j), both, s in zip(pairs, together, scale, strict=True)]
    return bounded([(i, j, float(np.clip(r, -2, 2))) for (i, j), r in zip(pairs, ratios, strict=True)], len(layers))


def bounded(terms: list[Term], layers: int) -> list[Term]:
    """The terms, made smaller together where the sum could fall below `LEAST` of that of the layers alone.

    E[(sum a_i)^2] is never negative, so I + R / 2 has no negative eigenvalue; measured at few bits, where divergences level
    off, it may.
    """
    matrix = np.eye(layers)
    for i, j, r in terms:
        matrix[i, j] = matrix[j, i] = r / 2
    least = float(np.linalg.eigvalsh(matrix)[0])
    factor = 1.0 if least >= LEAST else (1 - LEAST) / (1 - least)
    return [(i, j, factor * r) for i, j, r in terms]


def _losses(context: Context, piece: Piece, functions: dict[int, Replacement], pairs: list[tuple[int, int]]) -> F64:
    """Sum over a piece's images of the divergence with each layer, then each pair of layers, quantized."""
    model = context.calibration.model
    run, names = FloatRun(model, piece.images(model)), [layer.name for layer in model.layers]

    def loss(*places: int) -> float:
        output = run.with_layers({names[i]: functions[i] for i in places})
        return float(divergence(run.output, output, model.has_classifier).sum())

    return np.array([*(loss(i) for i in functions), *(loss(i, j) for i, j in pairs)])
