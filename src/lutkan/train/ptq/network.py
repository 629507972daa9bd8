"""PTQ of a network: layer after layer, each calibrated on what the quantized layers before it give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.errors import InputError, SpecError
from lutkan.ir import EdgeBank, KANLayer, Network
from lutkan.numerics.rows import real_rows
from lutkan.tables import (
    BranchSpec,
    CodedBranch,
    CodedLayer,
    CodeGrid,
    CodeSpec,
    LayerSpec,
    Spec,
    compile_codes,
    input_domain,
    resolve_spec,
)
from lutkan.train.ptq import balance, correct, gradients, ranges, rounding
from lutkan.train.ptq.brecq import brecq
from lutkan.train.ptq.features import BranchView, LayerView, lookup
from lutkan.train.ptq.methods import Method, resolve_method
from lutkan.train.ptq.mixed import hawq_spec
from lutkan.train.ptq.rounding import WeightGrid
from lutkan.verify import measured_rows, verify, with_golden

__all__ = ["Quantized", "QuantizedBranch", "QuantizedLayer", "code_spec", "quantize_network"]

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
Progress = Callable[[int, int, str], None]

# Bits of what a LayerNorm inside a layer gives: under the preset, because QuantKAN leaves it in floating point, and
# while the range of the layer's input is searched. The library's own methods give it the spec's input bits.
_FINE_BITS = 8
# Rows that Hessians and learned rounding use, and rows on which a range is searched.
_ROWS, _SEARCH_ROWS = 2048, 256
_SYNTHETIC_ROWS = 1024


@dataclass(frozen=True, eq=False)
class QuantizedBranch:
    """A branch after PTQ.

    Attributes
    ----------
    bank : EdgeBank
        The basis that gives the features; AWQ and SmoothQuant scale it.
    grid : CodeGrid or None
        Codes of what a LayerNorm before the edges gives.
    codes : int16 [O, R] or None
        None where the spec leaves the branch in floating point.
    bits : int
        Bits that hold the codes.
    scale : float64 [O, R] or what broadcasts to it
    weights : float64 [O, R]
        What the codes stand for.
    """

    bank: EdgeBank
    grid: CodeGrid | None
    codes: NDArray[np.int16] | None
    bits: int
    scale: F64
    weights: F64

    @property
    def nbytes(self) -> float:
        """Bytes of the packed coefficients and of their scales."""
        if self.codes is None:
            return 4.0 * self.weights.size
        return self.codes.size * self.bits / 8 + 4.0 * np.unique(self.scale).size


@dataclass(frozen=True, eq=False)
class QuantizedLayer:
    """A layer after PTQ.

    Attributes
    ----------
    layer : KANLayer
        As it was.
    grid : CodeGrid
        Codes of its input.
    branches : tuple of QuantizedBranch
    bias : float64 [O] or None
    """

    layer: KANLayer
    grid: CodeGrid
    branches: tuple[QuantizedBranch, ...]
    bias: F64 | None

    def view(self) -> LayerView:
        """Return the layer with the bases that give its features now."""
        branches = tuple(
            replace(branch, bank=quantized.bank)
            for branch, quantized in zip(self.layer.branches, self.branches, strict=True)
        )
        return LayerView(replace(self.layer, branches=branches), 0)

    def evaluate(self, x: F64, *, integer: bool = True) -> F64:
        """Evaluate the layer on quantized inputs: [N, in] -> [N, out].

        Parameters
        ----------
        x : float64 [N, in]
        integer : bool
            Whether features are the integers of the artifact's tables, or real numbers (fake quantization).
        """
        view = self.view()
        codes = view.codes(x, self.grid, tuple(branch.grid for branch in self.branches))
        y = np.zeros((len(x), self.layer.shape[1]))
        for branch, quantized, own in zip(view.branches, self.branches, codes, strict=True):
            table = branch.table(quantized.grid or self.grid, bits=quantized.bits if integer else None).astype(
                np.float64
            )
            y += lookup(table, own) @ quantized.weights.T
        return y if self.bias is None else y + self.bias

    def coded(self) -> CodedLayer:
        """Return the layer as `lutkan.tables.compile_codes` takes it.

        Raises
        ------
        SpecError
            A branch is in floating point, or has more than one scale an output.
        """
        branches = []
        for branch, quantized, view in zip(self.layer.branches, self.branches, self.view().branches, strict=True):
            if quantized.codes is None:
                raise SpecError(
                    f"layer {self.layer.name}: the {view.role} branch is in floating point",
                    "integer coefficients in every branch",
                    "give it bits",
                )
            scale = np.broadcast_to(quantized.scale, quantized.codes.shape)
            if (scale != scale[:, :1]).any():
                raise SpecError(
                    f"layer {self.layer.name}: several scales an output in the {view.role} branch",
                    "one scale an output in an integer table",
                    'granularity="output" or "tensor"',
                )
            codes = view.cube(quantized.codes)
            branches.append(
                CodedBranch(branch.pre, quantized.grid, quantized.bank, codes, quantized.bits, scale[:, 0].copy())
            )
        return CodedLayer(self.layer.name, self.grid, tuple(branches), self.bias)


@dataclass(frozen=True, eq=False)
class Quantized:
    """A network after PTQ.

    Attributes
    ----------
    net : Network
        As it was.
    spec : Spec
        Bits of every layer and branch; a mixed-precision method changes those that were asked for.
    method : Method
    layers : tuple of QuantizedLayer
    info : dict
        What the artifact's manifest is to say about the method.
    """

    net: Network
    spec: Spec
    method: Method
    layers: tuple[QuantizedLayer, ...]
    info: dict[str, Any]

    def evaluate(self, X: object, *, integer: bool = False) -> F64:
        """Evaluate the quantized network; by default with real features (fake quantization).

        Parameters
        ----------
        X : array [N, in]
        integer : bool
            Whether features are the integers of the tables. Sums are real numbers either way.
        """
        x = real_rows("X", X, self.net.in_features).astype(np.float64)
        layers = iter(self.layers)
        for step in self.net.steps:
            x = next(layers).evaluate(x, integer=integer) if isinstance(step, KANLayer) else step.evaluate(x)
        return x

    def artifact(self, info: Mapping[str, Any] | None = None, *, rows: object = None) -> Artifact:
        """Compile to integer tables, from code to code.

        Parameters
        ----------
        info : mapping, optional
            More entries for the manifest.
        rows : array [N, in], optional
            Calibration rows: error figures against the float network, measured on 512 of them at most, and golden
            vectors go into the artifact.

        Raises
        ------
        SpecError
            A branch in floating point, several scales an output, or integers that do not fit the kernels.
        """
        seen = None if rows is None else real_rows("rows", rows, self.net.in_features).astype(np.float64)
        about = {"spec": self.spec.to_json(), "quantizers": f"{self.info['method']}, seed {self.info['seed']}"}
        specs = [code_spec(self.spec, number, layer.layer.name) for number, layer in enumerate(self.layers)]
        keep = all(own.keep_masked for own in specs)
        artifact = compile_codes(self.net, self.coded(), {**about, **dict(info or {})}, rows=seen, keep_masked=keep)
        return artifact if seen is None else _with_figures(artifact, self.net, seen)

    @property
    def weight_bytes(self) -> float:
        """Bytes of packed coefficients and scales."""
        return float(sum(branch.nbytes for layer in self.layers for branch in layer.branches))

    def coded(self) -> tuple[CodedLayer, ...]:
        """Return the layers in integers."""
        return tuple(layer.coded() for layer in self.layers)

    def to_network(self) -> Network:
        """Return the network with the quantized weights in floating point; inputs are not quantized in it."""
        layers = iter(self.layers)
        steps = []
        for step in self.net.steps:
            if isinstance(step, KANLayer):
                done = next(layers)
                branches = tuple(
                    replace(branch, bank=replace(q.bank, coefficients=view.cube(q.weights), scale=None))
                    for branch, q, view in zip(step.branches, done.branches, done.view().branches, strict=True)
                )
                step = replace(step, branches=branches, bias=done.bias)
            steps.append(step)
        return replace(self.net, steps=tuple(steps))


def code_spec(spec: Spec, index: int, name: str) -> CodeSpec:
    """Return the CodeSpec of a layer.

    Raises
    ------
    SpecError
        The layer's spec is of another kind, or asks for weights with a free offset.
    """
    found: LayerSpec = spec.for_layer(index, name)
    if not isinstance(found, CodeSpec):
        raise SpecError(f"layer {name}: a {type(found).__name__}", "a CodeSpec", 'pass "w4a8", for example')
    for role in ("base", "spline", "scaler"):
        branch = getattr(found, role)
        if branch is not None and not branch.symmetric:
            raise SpecError(
                f"layer {name}: {role} weights with a free offset",
                "symmetric=True: the sum of a table's integers has no place for an offset",
                "leave the offset to the inputs, where it is free",
            )
    return found


def calibration_rows(net: Network, rows: object, *, synthetic: bool, seed: int) -> tuple[F64, bool]:
    """Return calibration rows, and whether they are the user's.

    Raises
    ------
    InputError
        Wrong width, no rows, NaN or infinities, or none given.
    """
    if synthetic:
        low, high = input_domain(net, None)
        rng = np.random.default_rng(seed)
        return rng.uniform(low, high, size=(_SYNTHETIC_ROWS, net.in_features)), False
    if rows is None:
        raise InputError(
            "no calibration rows", f"rows like those to come, [N, {net.in_features}]", 'or method="zeroq", without data'
        )
    X = real_rows("calibration", rows, net.in_features).astype(np.float64)
    if not len(X):
        raise InputError("calibration holds no rows", "at least one row")
    if not np.isfinite(X).all():
        row, column = (int(v) for v in np.argwhere(~np.isfinite(X))[0])
        raise InputError(f"calibration holds {X[row, column]} at row {row}, column {column}", "finite numbers")
    return X, True


def quantize_network(
    net: Network,
    spec: Spec | LayerSpec | str | Mapping[str, Any],
    *,
    method: str | Method = "auto",
    calibration: object = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Quantized:
    """Quantize a network after training, without torch.

    Parameters
    ----------
    net : Network
    spec : Spec, CodeSpec or str
        "w4a8" and the like, or a spec with bits a layer and a branch.
    method : str or Method
        A key of `METHODS`, or a method put together from its parts.
    calibration : array [N, in]
        Rows like those to come; 512 to 2048 are enough, more are thinned out. Not needed with "zeroq".
    seed : int
        Of everything that is drawn: synthetic rows, batches, random signs.
    progress : callable, optional
        Called with layers done, layers in all, and a few words.

    Returns
    -------
    Quantized

    Raises
    ------
    SpecError
        A spec that is no CodeSpec, a pattern that matches no layer, an unknown method.
    InputError
        Calibration rows of the wrong width, none, or with NaN or infinities.

    Examples
    --------
    >>> from lutkan.lab.nets import efficient_kan, input_rows
    >>> net = efficient_kan((4, 3)).network
    >>> quantized = quantize_network(net, "w4a8", calibration=input_rows(4, 200))
    >>> quantized.layers[0].grid.bits, quantized.layers[0].branches[0].codes.dtype
    (8, dtype('int16'))
    """
    if not isinstance(net, Network):
        raise InputError(f"net is a {type(net).__name__}", "a Network", "pass lutkan.import_model(source)")
    how = resolve_method(method)
    wanted = resolve_spec(spec)
    names = tuple(layer.name for layer in net.layers)
    wanted.require_matches(names)
    for index, name in enumerate(names):
        code_spec(wanted, index, name)
    X, given = calibration_rows(net, calibration, synthetic=how.synthetic, seed=seed)
    thin = _thinned(X, _ROWS, seed)
    if how.mixed:
        wanted = hawq_spec(net, wanted, thin[:_SEARCH_ROWS], seed=seed)
    work = _Work(net, wanted, how, X, thin, seed)
    layers: list[QuantizedLayer] = []
    x = thin
    for index, step in enumerate(net.steps):
        if isinstance(step, KANLayer):
            if progress is not None:
                progress(len(layers), len(names), step.name)
            done = work.layer(index, len(layers), x)
            layers.append(done)
            x = done.evaluate(x)
        else:
            x = step.evaluate(x)
    if progress is not None:
        progress(len(names), len(names), "done")
    info = {
        "method": method if isinstance(method, str) else "custom",
        "calibration_rows": len(X) if given else 0,
        "synthetic_rows": 0 if given else len(X),
        "seed": seed,
    }
    return Quantized(net, wanted, how, tuple(layers), info)


def _thinned(X: F64, rows: int, seed: int) -> F64:
    if len(X) <= rows:
        return X
    return X[np.sort(np.random.default_rng(seed).permutation(len(X))[:rows])]


def _with_figures(artifact: Artifact, net: Network, rows: F64) -> Artifact:
    """Put golden vectors, and the errors against the float network, into an artifact."""
    artifact = with_golden(artifact, rows)
    report = verify(artifact, net, measured_rows(rows), runtime="reference")
    reason = "no bounds are computed where inputs are quantized to codes"
    certificate = {"max_abs": None, "reason": reason}
    return replace(artifact, info={**artifact.info, "verification": report.summary(), "certificate": certificate})


class _Work:
    """What all layers of one run share."""

    def __init__(self, net: Network, spec: Spec, method: Method, X: F64, thin: F64, seed: int) -> None:
        self.net, self.spec, self.method, self.seed = net, spec, method, seed
        self.loss: gradients.Loss = gradients.resolve_loss(net)
        self.trace = net.trace(thin)
        self.first = net.trace(X[:512]) if method.inputs == "batch-max" else None
        self.fisher = gradients.fisher(net, thin, loss=self.loss, seed=seed) if method.rounding == "brecq" else None

    def layer(self, step: int, number: int, x: F64) -> QuantizedLayer:
        """Quantize one layer, given the quantized network's inputs to it."""
        layer = self.net.steps[step]
        view = LayerView(layer, step)  # type: ignore[arg-type]
        spec = code_spec(self.spec, number, view.layer.name)
        target = self.trace[step + 1] - view.bias
        grid = _in_float32(self._input_grid(view, spec, x, target))
        inner = self._inner_grids(view, spec, grid, x, target)
        codes = view.codes(x, grid, inner)
        specs = [spec.base if branch.role == "base" else spec.spline for branch in view.branches]
        tables = [
            branch.table(own or grid, bits=_bits(one))
            for branch, own, one in zip(view.branches, inner, specs, strict=True)
        ]
        F = [lookup(table, own).astype(np.float32) for table, own in zip(tables, codes, strict=True)]
        if self.method.balance != "none":
            branches = [
                self._balanced(branch, one, f, own)
                for branch, one, f, own in zip(view.branches, specs, F, inner, strict=True)
            ]
        else:
            branches = self._rounded(view, spec, specs, F, inner, target, step)
        done = QuantizedLayer(view.layer, grid, tuple(branches), view.layer.bias)
        if self.method.bias_correction:
            shift = correct.bias_correction(self.trace[step + 1], done.evaluate(x))
            done = replace(done, bias=view.bias + shift)
        return done

    # --- inputs

    def _input_grid(self, view: LayerView, spec: CodeSpec, x: F64, target: F64) -> CodeGrid:
        how, bits = self.method.inputs, spec.input_bits
        signed = self.method.signed_inputs or spec.input_symmetric
        if how == "batch-max":
            amax = ranges.batch_max_percentile(self.first[view.step])  # type: ignore[index]
            return ranges.symmetric_grid(amax, bits)
        if spec.percentile is not None or how in ("minmax", "percentile"):
            low, high = spec.percentile or ((0.0, 100.0) if how == "minmax" else (0.1, 99.9))
            grid = ranges.percentile_grid(x, bits, low, high)
            ends = max(abs(grid.low), abs(grid.low + grid.step * (grid.levels - 1)))
            return ranges.symmetric_grid(ends, bits) if signed else grid
        if how == "mse":
            return ranges.mse_grid(x, bits, symmetric=signed)
        rows = _spread(len(x), _SEARCH_ROWS)
        seen, reference = x[rows], self.trace[-1][rows]
        error = _OutputError(view, seen, target[rows])

        def cost(grid: CodeGrid) -> float:
            y = error.answer(grid, _inner_grids(view, grid, seen))
            if how == "output-error":
                return error.of(y)
            z = y + view.bias
            for step in self.net.steps[view.step + 1 :]:
                z = step.evaluate(z)
            return gradients.kl_divergence(reference, z, self.loss) + 0.1 * error.of(y)

        search = ranges.search_symmetric_grid if signed else ranges.search_free_grid
        return search(seen, bits, cost)

    def _inner_grids(
        self, view: LayerView, spec: CodeSpec, grid: CodeGrid, x: F64, target: F64
    ) -> tuple[CodeGrid | None, ...]:
        """Choose the codes of what LayerNorms inside the layer give, one branch after the other."""
        found = list(_inner_grids(view, grid, x))
        how, rows = self.method.inputs, _spread(len(x), _SEARCH_ROWS)
        if how != "batch-max" and any(branch.coupled for branch in view.branches):
            decoded = grid.decode(grid.encode(x))
            error = _OutputError(view, x[rows], target[rows])
            for number, branch in enumerate(view.branches):
                if not branch.coupled:
                    continue
                seen = branch.seen(decoded)
                if how in ("output-error", "prediction"):

                    def cost(own: CodeGrid, number: int = number) -> float:
                        return error.of(error.answer(grid, (*found[:number], own, *found[number + 1 :])))

                    found[number] = ranges.search_free_grid(seen[rows], spec.input_bits, cost)
                elif how == "mse":
                    found[number] = ranges.mse_grid(seen, spec.input_bits)
                else:
                    low, high = (0.1, 99.9) if how == "percentile" else (0.0, 100.0)
                    found[number] = ranges.percentile_grid(seen, spec.input_bits, low, high)
        return tuple(None if own is None else _in_float32(own) for own in found)

    # --- weights

    def _rounded(
        self,
        view: LayerView,
        spec: CodeSpec,
        specs: list[BranchSpec],
        F: list[F32],
        inner: tuple[CodeGrid | None, ...],
        target: F64,
        step: int,
    ) -> list[QuantizedBranch]:
        """Round the branches of a layer, together or one after the other."""
        split = [spec.scaler is not None and b.role == "spline" and b.bank.scale is not None for b in view.branches]
        W = [branch.weights for branch in view.branches]
        learned = self.method.rounding != "nearest"
        needs_H = learned or self.method.scales == "hessian" or self.method.refit > 0
        joint = self.method.joint and not any(split) and all(one.bits is not None for one in specs)
        parts = [list(range(len(W)))] if joint else [[number] for number in range(len(W))]
        done: dict[int, QuantizedBranch] = {}
        for part in parts:
            if specs[part[0]].bits is None:
                done[part[0]] = _unrounded(view.branches[part[0]], inner[part[0]])
                continue
            if split[part[0]]:
                done[part[0]] = _with_scaler(view.branches[part[0]], specs[part[0]], spec.scaler, inner[part[0]])  # type: ignore[arg-type]
                continue
            w = np.concatenate([W[number] for number in part], axis=1)
            f = np.concatenate([F[number] for number in part], axis=1) if len(part) > 1 else F[part[0]]
            H = rounding.second_moments(f) if needs_H else None
            own_target = target if joint or len(W) == 1 else self._own_target(view, part[0], step)
            if self.method.refit and H is not None:
                w = correct.refit(w, H, own_target.T @ f / len(f), strength=self.method.refit)
            grids, at = [], 0
            for number in part:
                size = W[number].shape[1]
                piece, weight = w[:, at : at + size], None if H is None else np.diag(H)[at : at + size]
                grids.append(self._grid(view.branches[number], piece, specs[number], weight))
                at += size
            grid = WeightGrid.beside(grids, len(w)) if len(part) > 1 else grids[0]
            live = np.concatenate([_live(view.branches[number]) for number in part], axis=1)
            codes = self._codes(w, f, H, grid, own_target, step) * live  # pruned edges stay pruned
            at = 0
            for number, one in zip(part, grids, strict=True):
                size = W[number].shape[1]
                piece = codes[:, at : at + size]
                done[number] = QuantizedBranch(
                    view.branches[number].bank, inner[number], piece, _bits(specs[number]), one.scale, one.values(piece)
                )
                at += size
        return [done[number] for number in range(len(W))]

    def _own_target(self, view: LayerView, number: int, step: int) -> F64:
        """Return what one branch gives on real inputs."""
        branch = view.branches[number]
        return branch.exact(self.trace[step]) @ branch.weights.T

    def _grid(self, branch: BranchView, W: F64, spec: BranchSpec, importance: F64 | None) -> WeightGrid:
        groups, bits = _groups(branch, spec), _bits(spec)
        if self.method.scales == "peak":
            return rounding.peak_grid(W, bits, groups)
        weight = importance if self.method.scales == "hessian" else None
        return rounding.searched_grid(W, bits, weight, groups)

    def _codes(self, W: F64, F: F32, H: F64 | None, grid: WeightGrid, target: F64, step: int) -> NDArray[np.int16]:
        how = self.method.rounding
        if how == "nearest" or H is None:
            return grid.nearest(W)
        if how == "gptq":
            return rounding.gptq(W, H, grid, dead=self.method.dead)
        if how == "adaround":
            return rounding.adaround(W, H, grid)
        return brecq(W, F, target, grid, self.fisher[step], seed=self.seed)  # type: ignore[index]

    def _balanced(self, branch: BranchView, spec: BranchSpec, F: F32, inner: CodeGrid | None) -> QuantizedBranch:
        """Move scales between features and weights, then round to nearest."""
        if spec.bits is None:
            return _unrounded(branch, inner)
        if spec.granularity != "output":
            raise SpecError(
                f"granularity {spec.granularity!r} with AWQ or SmoothQuant", "'output'", "or another method"
            )
        W = branch.weights
        if self.method.balance == "awq":
            t, grid = balance.awq(W, rounding.second_moments(F), spec.bits)
        else:
            if self.method.smooth_side == "inputs":
                balance.require_preserving(branch.branch, branch.layer)
            t = balance.smooth(W, np.abs(F).max(axis=0).astype(np.float64))
            grid = self._grid(branch, W * t, spec, None)
        basis = balance.ScaledBasis(branch.bank.basis, 1.0 / t.reshape(branch.bank.in_features, -1))
        weights = branch.cube(W * t)
        bank = replace(branch.bank, basis=basis, coefficients=weights, scale=None)
        codes = grid.nearest(W * t)
        return QuantizedBranch(bank, inner, codes, spec.bits, grid.scale, grid.values(codes))


class _OutputError:
    """What grids do to the outputs of a layer whose weights are real: mean squared error over the outputs' variance."""

    def __init__(self, view: LayerView, x: F64, target: F64) -> None:
        self.view, self.x, self.target = view, x, target
        self.weights = [branch.weights.astype(np.float32).T for branch in view.branches]
        self.spread = max(float(np.var(target)), 1e-30)
        # Up to as many codes as features, a sum over marked codes is shorter than one over features.
        self.few = sum(branch.bank.basis.size for branch in view.branches)

    def answer(self, grid: CodeGrid, inner: tuple[CodeGrid | None, ...]) -> F32:
        """Return the sums of the layer, without bias."""
        y = np.zeros(self.target.shape, dtype=np.float32)
        codes = self.view.codes(self.x, grid, inner)
        shared: dict[int, F32] = {}  # by the codes that a branch sees: what every code adds to the outputs
        for number, (branch, own, seen) in enumerate(zip(self.view.branches, inner, codes, strict=True)):
            table = branch.table(own or grid)
            if (1 << (own or grid).bits) > self.few:
                y += lookup(table, seen) @ self.weights[number]
                continue
            outputs = np.matmul(table, self.weights[number].reshape(branch.bank.coefficients.shape))
            key = number if own is not None else -1
            shared[key] = shared[key] + outputs if key in shared else outputs
        for key, outputs in shared.items():
            seen = codes[key] if key >= 0 else next(c for c, g in zip(codes, inner, strict=True) if g is None)
            marks = seen[:, :, None] == np.arange(outputs.shape[1])
            y += marks.reshape(len(seen), -1).astype(np.float32) @ outputs.reshape(-1, outputs.shape[2])
        return y

    def of(self, y: F32) -> float:
        """Return the error of sums."""
        return float(np.mean((y - self.target) ** 2)) / self.spread


def _spread(count: int, most: int) -> NDArray[np.intp]:
    """Return at most so many row numbers, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.intp)


def _in_float32(grid: CodeGrid) -> CodeGrid:
    """Round a grid to what every runtime and torch can hold."""
    return CodeGrid(float(np.float32(grid.low)), float(np.float32(grid.step)), grid.bits)


def _live(branch: BranchView) -> NDArray[np.int16]:
    """Tell which weights [O, R] belong to edges that are not pruned."""
    live = branch.bank.live() if branch.bank.scale is None else branch.bank.scale != 0
    return np.repeat(live.T, branch.bank.basis.size, axis=1).astype(np.int16)


def _inner_grids(view: LayerView, grid: CodeGrid, x: F64) -> tuple[CodeGrid | None, ...]:
    """Return fine grids, from minimum to maximum, for what LayerNorms inside the layer give on quantized inputs."""
    if not any(branch.coupled for branch in view.branches):
        return (None,) * len(view.branches)
    decoded = grid.decode(grid.encode(x))
    found: list[CodeGrid | None] = []
    for branch in view.branches:
        if branch.coupled:
            seen = branch.seen(decoded)
            found.append(ranges.percentile_grid(seen, _FINE_BITS, 0.0, 100.0))
        else:
            found.append(None)
    return tuple(found)


def _bits(spec: BranchSpec) -> int:
    """Return the bits of a branch that has some."""
    return 8 if spec.bits is None else spec.bits


def _unrounded(branch: BranchView, inner: CodeGrid | None) -> QuantizedBranch:
    """Leave a branch in floating point."""
    return QuantizedBranch(branch.bank, inner, None, 32, np.ones((1, 1)), branch.weights)


def _groups(branch: BranchView, spec: BranchSpec) -> NDArray[np.int64] | None:
    """Return for each weight [O, R] the number of the scale that it shares; None stands for a scale an output."""
    n_in, size, n_out = branch.bank.coefficients.shape
    if spec.granularity == "output":
        return None
    if spec.granularity == "tensor":
        return np.zeros((n_out, n_in * size), dtype=np.int64)
    width = size if spec.granularity == "edge" else int(spec.group_size or 1)
    blocks = np.arange(n_in * size) // width
    return np.arange(n_out)[:, None] * (int(blocks[-1]) + 1) + blocks


def _with_scaler(branch: BranchView, spec: BranchSpec, scaler: BranchSpec, inner: CodeGrid | None) -> QuantizedBranch:
    """Quantize coefficients and edge scales apart, as QuantKAN does; their product has integer codes again."""
    bank = branch.bank
    coefficients = branch.matrix(bank.coefficients)
    scales = np.ascontiguousarray(bank.scale.T)  # type: ignore[union-attr]
    if spec.bits is None or scaler.bits is None:
        raise SpecError("a scaler of its own beside weights in floating point", "bits for both")
    w_grid, s_grid = rounding.peak_grid(coefficients, spec.bits), rounding.peak_grid(scales, scaler.bits)
    w_codes, s_codes = w_grid.nearest(coefficients), s_grid.nearest(scales)
    codes = w_codes * np.repeat(s_codes, bank.basis.size, axis=1)
    scale = w_grid.scale * s_grid.scale
    most = max(int(codes.max()), int(-codes.min()), 1)
    bits = most.bit_length() + 1
    return QuantizedBranch(bank, inner, codes, bits if bits <= 8 else 16, scale, codes * scale)
