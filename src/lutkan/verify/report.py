"""`verify`: how far an artifact is from its model, where, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.artifact.program import KANOp, SegmentTable
from lutkan.errors import InputError, VerificationError
from lutkan.ir import Network
from lutkan.numerics.rows import real_rows
from lutkan.runtimes import load, reference
from lutkan.tables import BaseValues, LayerPlan, compile_layer, table_domain
from lutkan.verify.twin import Plans, branch_input, evaluate_layer, plan_of, trace_twin

__all__ = ["ErrorFigures", "LayerReport", "VerifyReport", "WorstEdge", "decisions", "measured_rows", "verify"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
# More would make compiling slow, not the figures better.
_MEASURED_ROWS = 512


@dataclass(frozen=True)
class ErrorFigures:
    """Largest and mean absolute difference."""

    max_abs: float
    mae: float


@dataclass(frozen=True)
class WorstEdge:
    """The edge whose table differs most from its function on the row where the layer differs most."""

    layer: int
    row: int
    source: int
    target: int
    x: float
    model: float
    artifact: float


@dataclass(frozen=True)
class LayerReport:
    """Errors of one KAN layer that is fed the model's own inputs, so that layers do not blame each other.

    Attributes
    ----------
    step : int
        Number of the step in the network.
    name : str
    total, approximation, quantization : ErrorFigures
    outside_share : float
        Share of table inputs beyond the tables' knots.
    """

    step: int
    name: str
    total: ErrorFigures
    approximation: ErrorFigures
    quantization: ErrorFigures
    outside_share: float


@dataclass(frozen=True, eq=False)
class VerifyReport:
    """What `verify` found.

    Attributes
    ----------
    rows : int
    max_abs, mae : float
        |artifact - model| over all rows and outputs.
    approximation : ErrorFigures
        |twin - model|: the cost of the representation.
    quantization : ErrorFigures
        |artifact - twin|: the cost of 8 bits and float32.
    agreement : float
        Share of rows with the same decision: the same largest output, or the same sign where there is one output.
    outputs : tuple of ErrorFigures
        |artifact - model| by output.
    layers : tuple of LayerReport
    worst_row, worst_output : int
        Where |artifact - model| is largest.
    worst_edge : WorstEdge or None
    non_finite_rows : int
        Rows on which model and artifact are both non-finite; they are left out of the figures.
    spread : float
        Standard deviation of the model's outputs, to judge the errors by.
    """

    rows: int
    max_abs: float
    mae: float
    approximation: ErrorFigures
    quantization: ErrorFigures
    agreement: float
    outputs: tuple[ErrorFigures, ...]
    layers: tuple[LayerReport, ...]
    worst_row: int
    worst_output: int
    worst_edge: WorstEdge | None
    non_finite_rows: int
    spread: float

    def raise_if(
        self, *, max_abs: float | None = None, mae: float | None = None, agreement: float | None = None
    ) -> VerifyReport:
        """Raise when the artifact is worse than allowed; return the report otherwise.

        Parameters
        ----------
        max_abs, mae : float, optional
            Largest errors allowed.
        agreement : float, optional
            Smallest share of equal decisions allowed.

        Raises
        ------
        VerificationError
        """
        limits = [
            ("max_abs", self.max_abs, max_abs, lambda found, limit: found > limit, "at most"),
            ("mae", self.mae, mae, lambda found, limit: found > limit, "at most"),
            ("agreement", self.agreement, agreement, lambda found, limit: found < limit, "at least"),
        ]
        for name, found, limit, broken, words in limits:
            if limit is not None and (broken(found, limit) or np.isnan(found)):
                raise VerificationError(
                    f"{name} is {found:.6g} on {self.rows} rows, worst at row {self.worst_row}, "
                    f"output {self.worst_output}",
                    f"{words} {limit:.6g}",
                    "compile with more samples or bits, or look at report.layers for the layer to blame",
                )
        return self

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    def summary(self) -> dict[str, int | float]:
        """Return the few figures that an artifact's manifest holds."""
        return {
            "rows": self.rows,
            "max_abs": self.max_abs,
            "mae": self.mae,
            "approximation_max_abs": self.approximation.max_abs,
            "quantization_max_abs": self.quantization.max_abs,
            "agreement": self.agreement,
        }

    def to_text(self) -> str:
        """Return a short table for people."""
        lines = [
            f"{self.rows} rows, {len(self.outputs)} outputs (model's outputs spread by {self.spread:.4g})",
            f"  {'':<22}{'max':>12}{'mean':>12}",
            f"  {'artifact - model':<22}{self.max_abs:>12.3g}{self.mae:>12.3g}",
            f"  {'  approximation':<22}{self.approximation.max_abs:>12.3g}{self.approximation.mae:>12.3g}",
            f"  {'  quantization':<22}{self.quantization.max_abs:>12.3g}{self.quantization.mae:>12.3g}",
            f"  equal decisions {100 * self.agreement:.3f} %; "
            f"worst at row {self.worst_row}, output {self.worst_output}",
        ]
        for layer in self.layers:
            lines.append(
                f"  layer {layer.step} {layer.name}: max {layer.total.max_abs:.3g} "
                f"(approximation {layer.approximation.max_abs:.3g}, quantization {layer.quantization.max_abs:.3g}), "
                f"{100 * layer.outside_share:.1f} % of inputs beyond the tables"
            )
        if self.worst_edge is not None:
            edge = self.worst_edge
            lines.append(
                f"  worst edge: layer {edge.layer}, {edge.source} -> {edge.target} at x = {edge.x:.6g}: "
                f"model {edge.model:.6g}, artifact {edge.artifact:.6g}"
            )
        if self.non_finite_rows:
            lines.append(f"  {self.non_finite_rows} rows are not finite in the model and were left out")
        return "\n".join(lines)


def measured_rows(rows: F64) -> F64:
    """Return the rows that the figures of a compiled artifact are measured on: at most 512, evenly spread.

    Examples
    --------
    >>> measured_rows(np.zeros((10_000, 3))).shape
    (512, 3)
    """
    chosen = np.rint(np.linspace(0, len(rows) - 1, min(len(rows), _MEASURED_ROWS))).astype(np.int64)
    return rows[chosen]


def verify(artifact: Artifact, net: Network, X: object, *, runtime: str = "auto") -> VerifyReport:
    """Compare an artifact with the network it was compiled from.

    Parameters
    ----------
    artifact : Artifact
    net : Network
    X : array [N, in]
        Rows to compare on; rounded to float32 first, for both.
    runtime : str
        Runtime of the artifact; all give the same bits.

    Returns
    -------
    VerifyReport

    Raises
    ------
    InputError
        Wrong width or dtype, NaN, or no rows.
    VerificationError
        The artifact does not belong to the network.

    Examples
    --------
    >>> import lutkan
    >>> net = lutkan.import_model({"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32)})
    >>> report = lutkan.verify(lutkan.compile(net, spec="segment-int8-L64"), net, np.zeros((4, 2)))
    >>> report.max_abs < 0.02
    True
    """
    if not isinstance(artifact, Artifact):
        raise InputError(f"artifact is a {type(artifact).__name__}", "an Artifact", "lutkan.Artifact.open(path)")
    if not isinstance(net, Network):
        raise InputError(f"net is a {type(net).__name__}", "a Network", "pass lutkan.import_model(source)")
    model = load(artifact, runtime=runtime)
    rows = real_rows("X", X, model.in_features)
    if len(rows) == 0:
        raise InputError("X has no rows", "at least one row")
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(rows, dtype=np.float32)
    return _compare(artifact, net, x.astype(np.float64), model.predict(x).astype(np.float64))


@np.errstate(over="ignore", invalid="ignore")  # infinite inputs are no surprise
def _compare(artifact: Artifact, net: Network, x: F64, y: F64) -> VerifyReport:
    plans = plan_of(artifact, net)
    trace = net.trace(x)
    twin = trace_twin(net, plans, x)[-1]
    exact = trace[-1]

    usable = _finite_rows(exact)
    differing = usable != _finite_rows(y)
    if differing.any():
        row = int(np.argmax(differing))
        raise VerificationError(f"row {row}: model {exact[row]}, artifact {y[row]}", "both finite or both not")
    if not usable.any():
        raise VerificationError("the model is not finite on any row", "rows on which the model answers")
    difference = np.zeros_like(exact)
    difference[usable] = np.abs(y[usable] - exact[usable])
    worst_row, worst_output = (int(v) for v in np.unravel_index(np.argmax(difference), difference.shape))
    layers = tuple(_layer_report(artifact, plans[s], trace[s], usable) for s in sorted(plans))
    return VerifyReport(
        rows=len(x),
        max_abs=float(difference.max()),
        mae=float(difference[usable].mean()),
        approximation=_figures(twin[usable] - exact[usable]),
        quantization=_figures(y[usable] - twin[usable]),
        agreement=float(np.mean(decisions(y[usable]) == decisions(exact[usable]))),
        outputs=tuple(_figures(column) for column in difference[usable].T),
        layers=layers,
        worst_row=worst_row,
        worst_output=worst_output,
        worst_edge=_worst_edge(artifact, plans, trace, layers, usable),
        non_finite_rows=int((~usable).sum()),
        spread=float(exact[usable].std()),
    )


def _finite_rows(y: F64) -> NDArray[np.bool_]:
    return np.all(np.isfinite(y), axis=1)


def _figures(difference: F64) -> ErrorFigures:
    size = np.abs(difference)
    return ErrorFigures(float(size.max()), float(size.mean()))


def decisions(y: F64) -> NDArray[Any]:
    """Return what each row decides: the number of its largest output, or whether its only output is positive."""
    return y.argmax(axis=1) if y.shape[1] > 1 else y[:, 0] > 0.0


def _layer_op(artifact: Artifact, step: int) -> KANOp:
    op = artifact.program.steps[step]
    if not isinstance(op, KANOp):
        raise VerificationError(f"step {step} of the artifact is {op.op}", "the network it was compiled from")
    return op


def _layer_outputs(artifact: Artifact, plan: LayerPlan, x: F64) -> tuple[F64, F64, F64]:
    """Return what artifact, twin and model make of the model's own inputs of a layer, on the outputs computed."""
    # A coded layer by itself takes and gives numbers, not the codes of its neighbours.
    op = _layer_op(artifact, plan.step) if plan.coded is None else compile_layer(plan)
    with np.errstate(all="ignore"):
        y = reference.run_kan(op, x.astype(np.float32))[:, plan.outputs]
    rounded = x.astype(np.float32).astype(np.float64)
    twin = evaluate_layer(plan, rounded)[:, plan.outputs]
    return y.astype(np.float64), twin, plan.layer.evaluate(rounded)[:, plan.outputs]


def _layer_report(artifact: Artifact, plan: LayerPlan, x: F64, usable: NDArray[np.bool_]) -> LayerReport:
    y, twin, exact = _layer_outputs(artifact, plan, x[usable])
    outside = 0.0
    for branch in plan.branches:
        if not isinstance(branch.values, BaseValues):
            seen = branch_input(plan, branch, x[usable])
            low, high = table_domain(branch.values)
            outside = float(np.mean((seen < low) | (seen > high)))
            break
    return LayerReport(
        plan.step, plan.layer.name, _figures(y - exact), _figures(twin - exact), _figures(y - twin), outside
    )


def _worst_edge(
    artifact: Artifact, plans: Plans, trace: list[F64], layers: tuple[LayerReport, ...], usable: NDArray[np.bool_]
) -> WorstEdge | None:
    worst = max(layers, key=lambda layer: layer.total.max_abs)
    plan = plans[worst.step]
    x = trace[worst.step]
    y, _, exact = _layer_outputs(artifact, plan, x)
    size = np.where(usable[:, None], np.abs(y - exact), -1.0)
    row, column = (int(v) for v in np.unravel_index(np.argmax(size), size.shape))
    x32 = x[row : row + 1].astype(np.float32)
    best: WorstEdge | None = None
    for branch, op in zip(plan.branches, _layer_op(artifact, plan.step).branches, strict=True):
        if branch.group is None or not isinstance(op.table, SegmentTable):
            continue
        seen = x32
        with np.errstate(all="ignore"):
            for step in op.pre:
                seen = reference.run_step(step, seen)
            seen = seen[:, plan.inputs]
            k, r, w, inside = reference.locate(op.table, seen)
        single = branch.group.take(np.arange(seen.shape[1]), np.array([column]))
        model = single.values(seen.T.astype(np.float64), scaled=True)[:, 0, 0]
        for i in range(seen.shape[1]):
            edges = reference.segment_edges(op.table, seen[:, i], i, k[:, i], r[:, i], w[:, i], inside[:, i])
            value = float(edges[0, column])
            if best is None or abs(value - model[i]) > abs(best.artifact - best.model):
                source, target = int(plan.inputs[i]), int(plan.outputs[column])
                best = WorstEdge(plan.step, row, source, target, float(seen[0, i]), float(model[i]), value)
    return best
