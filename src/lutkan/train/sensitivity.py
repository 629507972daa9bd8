"""Where bits matter: each layer and branch quantized alone, and bits spread under a budget of bytes or BitOps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import InputError, SpecError
from lutkan.ir import Branch, BSpline, KANLayer, Network
from lutkan.tables import LayerSpec, Spec, resolve_spec
from lutkan.train.ptq.features import BranchView, LayerView
from lutkan.train.ptq.gradients import kl_divergence, resolve_loss
from lutkan.train.ptq.methods import Method
from lutkan.train.ptq.mixed import BIT_CHOICES, Key, choose_bits, flat_bits, hawq_spec, with_bits
from lutkan.train.ptq.network import Quantized, calibration_rows, code_spec, quantize_network
from lutkan.train.ptq.ranges import batch_max_percentile, percentile_grid, symmetric_grid
from lutkan.train.ptq.rounding import peak_grid, searched_grid

__all__ = ["MixedPrecision", "Sensitivity", "search_bits", "sensitivity"]

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """What quantizing one part of a network alone does, part by part.

    Attributes
    ----------
    parts : tuple of (layer name, "input" | "base" | "spline" | "scaler")
        Rows of the arrays.
    bits : tuple of int
        Columns of the arrays.
    accuracy : float64 [parts, bits]
        Share of right decisions; without labels, of decisions equal to the float network's. For networks of one output
        the coefficient of determination.
    output_error : float64 [parts, bits]
        Root of the mean squared change of the outputs, over their standard deviation.
    divergence : float64 [parts, bits]
        KL divergence of the predictions (mean squares for one output): what bits are spread by.
    reference : float
        The accuracy without quantization.
    """

    parts: tuple[tuple[str, str], ...]
    bits: tuple[int, ...]
    accuracy: F64
    output_error: F64
    divergence: F64
    reference: float

    def table(self) -> list[tuple[str, ...]]:
        """Return accuracy (output error) as rows of words, a head first."""
        head = ("layer", "part", *(f"{bits} bits" for bits in self.bits))
        rows = [
            (*part, *(f"{100 * a:.2f} ({e:.3f})" for a, e in zip(accuracy, error, strict=True)))
            for part, accuracy, error in zip(self.parts, self.accuracy, self.output_error, strict=True)
        ]
        return [head, *rows]

    def to_json(self) -> dict[str, Any]:
        """Return everything as lists, for a file or a heat map."""
        return {
            "parts": [list(part) for part in self.parts],
            "bits": list(self.bits),
            "accuracy": self.accuracy.tolist(),
            "output_error": self.output_error.tolist(),
            "divergence": self.divergence.tolist(),
            "reference": self.reference,
        }

    def heat_map(self, axes: Any, what: Literal["accuracy", "output_error", "divergence"] = "accuracy") -> Any:
        """Draw one of the arrays on matplotlib axes, and return the image."""
        values = getattr(self, what)
        image = axes.imshow(values, aspect="auto", cmap="viridis" if what == "accuracy" else "viridis_r")
        axes.set_xticks(range(len(self.bits)), [str(bits) for bits in self.bits])
        axes.set_yticks(range(len(self.parts)), [f"{layer} {part}" for layer, part in self.parts])
        axes.set_xlabel("bits")
        for row, column in np.ndindex(values.shape):
            text = f"{100 * values[row, column]:.1f}" if what == "accuracy" else f"{values[row, column]:.3g}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8)
        return image


def sensitivity(
    net: Network,
    X: object,
    y: object = None,
    *,
    bits: Sequence[int] = (2, 3, 4, 8),
    calibration: object = None,
    scales: Literal["peak", "mse"] = "peak",
    signed_inputs: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Quantize each layer's input, base, spline and scaler alone, to nearest, and measure.

    Parameters
    ----------
    net : Network
    X : array [N, in]
        Rows that are measured.
    y : int array [N], optional
        Labels.
    bits : sequence of int
    calibration : array [N, in], optional
        Rows for input ranges; by default X.
    scales : {"peak", "mse"}
        Weight scales, an output: from the largest weight as in QuantKAN, or searched.
    signed_inputs : bool
        QuantKAN's signed input range, or from minimum to maximum.
    progress : callable, optional
        Called with parts done and parts in all.

    Examples
    --------
    >>> from lutkan.lab.nets import efficient_kan, input_rows
    >>> found = sensitivity(efficient_kan((4, 3)).network, input_rows(4, 99), bits=(2, 8))
    >>> found.parts[0], found.accuracy.shape
    (('layers.0', 'input'), (4, 2))
    """
    rows, _ = calibration_rows(net, X, synthetic=False, seed=0)
    ranging = rows if calibration is None else calibration_rows(net, calibration, synthetic=False, seed=0)[0]
    reference = net.evaluate(rows)
    targets = np.asarray(y) if y is not None else None
    if targets is not None and targets.shape[:1] != rows.shape[:1]:
        raise InputError(f"y of shape {targets.shape}", f"one label for each of the {len(rows)} rows")
    trace = net.trace(ranging)
    seen = net.trace(rows)
    parts: list[tuple[str, str]] = []
    found: list[list[tuple[float, float, float]]] = []
    jobs = [
        (step, role)
        for step, layer in enumerate(net.steps)
        if isinstance(layer, KANLayer)
        for role in ("input", *_roles(layer))
    ]
    for number, (step, role) in enumerate(jobs):
        if progress is not None:
            progress(number, len(jobs))
        layer = net.steps[step]
        parts.append((layer.name, role))  # type: ignore[union-attr]
        line = []
        for b in bits:
            if role == "input":
                grid = (
                    symmetric_grid(batch_max_percentile(trace[step]), b)
                    if signed_inputs
                    else percentile_grid(trace[step], b, 0.0, 100.0)
                )
                z = layer.evaluate(grid.decode(grid.encode(seen[step])))
            else:
                z = _rounded_layer(layer, role, b, scales).evaluate(seen[step])  # type: ignore[arg-type]
            for after in net.steps[step + 1 :]:
                z = after.evaluate(z)
            line.append(_measures(net, reference, z, targets))
        found.append(line)
    if progress is not None:
        progress(len(jobs), len(jobs))
    values = np.array(found)
    exact = _measures(net, reference, reference, targets)[0]
    return Sensitivity(tuple(parts), tuple(bits), values[..., 0], values[..., 1], values[..., 2], exact)


def _measures(net: Network, reference: F64, z: F64, y: NDArray[Any] | None) -> tuple[float, float, float]:
    error = float(np.sqrt(np.mean((z - reference) ** 2)) / max(float(reference.std()), 1e-30))
    divergence = kl_divergence(reference, z, resolve_loss(net))
    if net.out_features > 1:
        wanted = reference.argmax(axis=1) if y is None else y
        return float(np.mean(z.argmax(axis=1) == wanted)), error, divergence
    goal = reference if y is None else np.asarray(y, dtype=np.float64).reshape(z.shape)
    return 1.0 - float(np.mean((z - goal) ** 2) / max(float(goal.var()), 1e-30)), error, divergence


def _roles(layer: KANLayer) -> tuple[str, ...]:
    views = LayerView(layer, 0).branches
    roles = dict.fromkeys("base" if view.role == "base" else "spline" for view in views)
    scaled = any(view.role != "base" and view.bank.scale is not None for view in views)
    return (*sorted(roles), *(("scaler",) if scaled else ()))


def _rounded_layer(layer: KANLayer, role: str, bits: int, scales: str) -> KANLayer:
    """Round the weights of one role, and leave the rest."""
    grid_of = peak_grid if scales == "peak" else searched_grid

    def rounded(W: F64) -> F64:
        grid = grid_of(W, bits)
        return grid.values(grid.nearest(W))

    branches: list[Branch] = []
    for branch, view in zip(layer.branches, LayerView(layer, 0).branches, strict=True):
        bank = view.bank
        if role == "scaler" and view.role != "base" and bank.scale is not None:
            branches.append(replace(branch, bank=replace(bank, scale=rounded(bank.scale.T).T)))
        elif role == ("base" if view.role == "base" else "spline"):
            apart = role == "spline" and bank.scale is not None
            W = view.matrix(bank.coefficients) if apart else view.weights
            kept = bank.scale if apart else None
            branches.append(replace(branch, bank=replace(bank, coefficients=view.cube(rounded(W)), scale=kept)))
        else:
            branches.append(branch)
    return replace(layer, branches=tuple(branches))


@dataclass(frozen=True, eq=False)
class MixedPrecision:
    """What a search for bits found.

    Attributes
    ----------
    spec : Spec
        Bits by layer and branch.
    bits : dict of (layer number, role) to int
    size : float
        In the budget's unit.
    divergence : float
        On calibration rows that the quantization did not see.
    flat_bits : int or None
        The largest number of bits that fits everywhere; None if not even 2 do.
    flat_divergence : float or None
    quantized : Quantized
    """

    spec: Spec
    bits: dict[Key, int]
    size: float
    divergence: float
    flat_bits: int | None
    flat_divergence: float | None
    quantized: Quantized


def _operations(view: BranchView) -> float:
    """Multiplications a row: the functions that are not zero at an input, for every edge."""
    basis = view.bank.basis
    taps = basis.degree + 1 if isinstance(basis, BSpline) else basis.size
    return float(view.bank.in_features * view.bank.out_features * taps)


def _sizes(net: Network, spec: Spec, unit: str) -> dict[Key, dict[int, float]]:
    sizes: dict[Key, dict[int, float]] = {}
    for number, layer in enumerate(net.layers):
        input_bits = code_spec(spec, number, layer.name).input_bits
        for view in LayerView(layer, 0).branches:
            key = (number, "base" if view.role == "base" else "spline")
            each = view.weights.size / 8 if unit == "bytes" else _operations(view) * input_bits
            before = sizes.get(key, dict.fromkeys(BIT_CHOICES, 0.0))
            sizes[key] = {bits: before[bits] + bits * each for bits in BIT_CHOICES}
    return sizes


def search_bits(
    net: Network,
    spec: Spec | LayerSpec | str | Mapping[str, Any],
    *,
    calibration: object,
    max_bytes: float | None = None,
    max_bitops: float | None = None,
    method: str | Method = "auto",
    seed: int = 0,
) -> MixedPrecision:
    """Spread weight bits over layers and branches under a budget; never worse than flat bits within it.

    Candidates are the best sums of measured divergences, HAWQ-V2's spread, and the flat bits that fit. Each is
    quantized on one half of the calibration rows and judged on the other; the best is taken.

    Parameters
    ----------
    net : Network
    spec : Spec, CodeSpec or str
        Input bits and granularities; its weight bits are replaced.
    calibration : array [N, in]
        At least two rows.
    max_bytes : float, optional
        Of packed coefficients. By default what the spec's own bits take.
    max_bitops : float, optional
        Multiplications a row times weight bits times input bits; instead of `max_bytes`.
    method, seed
        As in `quantize`.

    Returns
    -------
    MixedPrecision

    Raises
    ------
    SpecError
        Both budgets, or one that not even 2 bits fit.
    InputError
        As `quantize`; fewer than two rows.
    """
    if max_bytes is not None and max_bitops is not None:
        raise SpecError("max_bytes and max_bitops", "one of them")
    wanted = resolve_spec(spec)
    wanted.require_matches(tuple(layer.name for layer in net.layers))
    rows, _ = calibration_rows(net, calibration, synthetic=False, seed=seed)
    if len(rows) < 2:
        raise InputError("calibration holds one row", "at least two: one half judges what the other half made")
    order = np.random.default_rng(seed).permutation(len(rows))
    fitting, judging = rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]
    unit = "bitops" if max_bitops is not None else "bytes"
    sizes = _sizes(net, wanted, unit)
    own = {key: bits for key, (bits, _) in flat_bits(net, wanted).items()}
    keys = tuple(own)
    sizes = {key: sizes[key] for key in keys}
    budget = max_bitops if max_bitops is not None else max_bytes
    if budget is None:
        budget = sum(bits * sizes[key][2] / 2 for key, bits in own.items())
    costs: dict[Key, dict[int, float]] = {}
    measured = sensitivity(net, judging[:512], bits=BIT_CHOICES, calibration=fitting, scales="mse", signed_inputs=False)
    names = [layer.name for layer in net.layers]
    for (name, part), line in zip(measured.parts, measured.divergence, strict=True):
        key = (names.index(name), part)
        if key in own:
            costs[key] = dict(zip(BIT_CHOICES, line.tolist(), strict=True))
    costs = {key: costs[key] for key in keys}
    best_sum = choose_bits(costs, sizes, budget)
    if not best_sum:
        least = sum(sizes[key][2] for key in keys)
        raise SpecError(f"a budget of {budget:g} {unit}", f"at least {least:g}, with 2 bits everywhere")
    flats = [bits for bits in BIT_CHOICES if sum(sizes[key][bits] for key in keys) <= budget * (1 + 1e-12)]
    flat = dict.fromkeys(keys, max(flats)) if flats else None
    candidates: list[dict[Key, int]] = [best_sum]
    if flat is not None:
        candidates.append(flat)
        curved = hawq_spec(net, with_bits(net, wanted, flat), fitting[:512], seed=seed)
        spread = {key: bits for key, (bits, _) in flat_bits(net, curved).items()}
        if sum(sizes[key][spread[key]] for key in keys) <= budget * (1 + 1e-12):
            candidates.append(spread)
    reference, loss = net.evaluate(judging), resolve_loss(net)
    best: MixedPrecision | None = None
    flat_divergence = None
    for bits in candidates:
        if best is not None and bits == best.bits:
            divergence, quantized = best.divergence, best.quantized
        else:
            chosen = with_bits(net, wanted, bits)
            quantized = quantize_network(net, chosen, method=method, calibration=fitting, seed=seed)
            divergence = kl_divergence(reference, quantized.evaluate(judging, integer=True), loss)
        if bits == flat:
            flat_divergence = divergence
        if best is None or divergence < best.divergence:
            size = sum(sizes[key][bits[key]] for key in keys)
            spec_of = with_bits(net, wanted, bits)
            best = MixedPrecision(
                spec_of, bits, size, divergence, max(flats) if flats else None, flat_divergence, quantized
            )
    if best is None:
        raise SpecError(f"a budget of {budget:g} {unit}", "a larger one")
    return replace(best, flat_divergence=flat_divergence)
