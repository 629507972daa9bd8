"""The generic importer: any function of rows that is a sum of functions of the single inputs.

Whether it is one is measured: for rows `x`, `y` and a mixture of their entries, `f(x) + f(y)` has to equal
`f(mixture) + f(the other mixture)`. Then edge `(i, j)` is `f_j` with only input `i` moved away from a reference point,
less its value there. The edges are sampled on a domain that the caller gives and interpolated by uniform B-splines; the
error of that is measured between the samples and noted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.adapters.checkpoint import read_checkpoint
from lutkan.adapters.live import ModuleRunner, is_live_module, unwrap
from lutkan.adapters.options import ConfigNeededError
from lutkan.errors import ImportModelError
from lutkan.ir import Branch, BSpline, EdgeBank, KANLayer, Network, Source
from lutkan.numerics import bspline

__all__ = ["GENERIC", "GENERIC_KEYS", "network_from_callable"]

F64 = NDArray[np.float64]

GENERIC = "generic"
#: Config keys of the generic importer, as in `Family.keys`.
GENERIC_KEYS: Mapping[str, str] = {
    "in_features": "number of inputs; taken from `domain` where that has an entry an input, else refused",
    "domain": "(low, high) of the inputs, numbers or an array an input; refused when absent",
    "segments": "intervals of the splines on the domain; 64 is taken",
    "degree": "degree of the splines, 1 or 3; 3 is taken",
}

PAIRS = 256
#: Largest deviation from a sum, relative to the spread of the outputs.
ADDITIVE = 1e-5
#: Numbers in one batch of sample rows.
BATCH_NUMBERS = 4_000_000


@dataclass(frozen=True, eq=False)
class _Probe:
    """The function to import, and where."""

    call: Callable[[F64], tuple[F64, float]]
    low: F64
    high: F64
    segments: int
    degree: int
    name: str

    @property
    def in_features(self) -> int:
        return self.low.size

    @property
    def middle(self) -> F64:
        return (self.low + self.high) / 2

    def rows(self, rng: np.random.Generator, n: int) -> F64:
        """Draw rows from the domain."""
        return rng.uniform(self.low, self.high, (n, self.in_features))

    def __call__(self, X: F64) -> F64:
        """Evaluate rows, some at a time."""
        step = max(16, BATCH_NUMBERS // self.in_features)
        return np.concatenate([self.call(X[start : start + step])[0] for start in range(0, len(X), step)])

    def allowed(self, y: F64) -> F64:
        """Return the largest difference that passes, an output: a share of its spread, and what rounding leaves."""
        eps = self.call(self.rows(np.random.default_rng(0), 2))[1]
        return ADDITIVE * np.ptp(y, axis=0) + 64 * eps * np.abs(y).max()


def network_from_callable(source: object, config: Mapping[str, Any] | None) -> Network:
    """Import a function that is a sum of functions of the single inputs, by sampling it.

    Parameters
    ----------
    source : callable or torch.nn.Module
        `[N, in] -> [N, out]`. A module is called with tensors, in evaluation mode, on a float64 copy where it can be
        copied; any other callable with float64 numpy arrays.
    config : mapping
        `domain` and `in_features`, optionally `segments` and `degree`; see `GENERIC_KEYS`.

    Returns
    -------
    Network
        One KAN layer with a bias. Its notes hold the measured deviation from a sum and the measured error of the
        splines. Outside the domain the edge functions fall to 0 within `degree` segments.

    Raises
    ------
    ImportModelError
        The function is not additive, depends on other rows or on chance, or is not finite on the domain; the message
        holds the measured deviation.

    Examples
    --------
    >>> net = network_from_callable(lambda X: np.sin(X[:, :1]) + X[:, 1:] ** 2, {"in_features": 2, "domain": (-2, 2)})
    >>> bool(abs(net.evaluate(np.array([[0.5, -1.0]]))[0, 0] - (np.sin(0.5) + 1.0)) < 1e-6)
    True
    """
    probe = _probe(source, dict(config or {}))
    rng = np.random.default_rng(20240519)
    spread = _require_function_of_single_rows(probe, rng)
    coupling = _require_additive(probe, rng, spread)
    bias, coefficients, error = _sample(probe)
    step = (probe.high - probe.low) / probe.segments
    knots = probe.low[:, None] + step[:, None] * np.arange(-probe.degree, probe.segments + probe.degree + 1)
    layer = KANLayer(GENERIC, (Branch(EdgeBank(BSpline(knots, probe.degree), coefficients)),), bias)

    fresh = probe.rows(rng, PAIRS)
    network = Network((layer,), probe.in_features, Source(GENERIC))
    total = float(np.abs(network.evaluate(fresh) - probe(fresh)).max())
    notes = (
        f"sampled from {probe.name}: splines of degree {probe.degree} with {probe.segments} segments on "
        f"[{probe.low.min():.4g}, {probe.high.max():.4g}]",
        f"largest error of an edge function {error:.2e}, measured between the fitted points; largest error of an "
        f"output {total:.2e} on {PAIRS} random rows, where the outputs spread by {spread:.3g}",
        f"additive up to {coupling:.1e} of that spread, on {PAIRS} pairs of random rows",
        "nothing is known outside the domain: there the edge functions fall to 0 within "
        f"{probe.degree} segments, which is not what the original does",
    )
    sha = read_checkpoint(unwrap(source).state_dict()).sha256 if is_live_module(source) else ""
    return replace(network, source=Source(GENERIC, sha, _defaults(config or {}), notes))


def _defaults(config: Mapping[str, Any]) -> tuple[str, ...]:
    taken = {"segments": 64, "degree": 3}
    return tuple(f"{key} = {value} (of the generic importer)" for key, value in taken.items() if key not in config)


def _probe(source: object, config: dict[str, Any]) -> _Probe:
    unknown = [key for key in config if key not in GENERIC_KEYS]
    if unknown:
        raise ImportModelError(f"config has the unknown key {unknown[0]!r}", f"{', '.join(GENERIC_KEYS)} for {GENERIC}")
    if not callable(source):
        raise ImportModelError(f"a {type(source).__name__} with family='generic'", "a callable [N, in] -> [N, out]")
    low, high = _domain(config)
    segments = _count(config, "segments", 64, 2, 65536)
    degree = _count(config, "degree", 3, 1, 3)
    if degree == 2:
        raise ImportModelError("config['degree'] = 2", "1 or 3: interpolation at the knots needs an odd degree")
    name = getattr(source, "__name__", type(source).__name__)
    if not is_live_module(source):
        return _Probe(lambda X: _call(source, X), low, high, segments, degree, name)
    runner = ModuleRunner(unwrap(source))

    def call(X: F64) -> tuple[F64, float]:
        run = runner.run(X)
        return run.y, run.eps

    return _Probe(call, low, high, segments, degree, name)


def _domain(config: Mapping[str, Any]) -> tuple[F64, F64]:
    if config.get("domain") is None:
        raise ConfigNeededError(
            "a callable does not say on which inputs it is used",
            "a finite interval, or one an input",
            "pass config={'domain': (low, high), 'in_features': n}",
            key="domain",
        )
    try:
        low, high = (np.asarray(bound, dtype=np.float64) for bound in config["domain"])
    except (TypeError, ValueError) as error:
        raise ImportModelError("config['domain'] is not a pair (low, high)", "numbers, or two arrays [in]") from error
    size = max(low.size, high.size)
    count = config.get("in_features")
    if count is None and low.ndim == high.ndim == 0:
        raise ConfigNeededError(
            "a callable does not say how many inputs it has", fix="pass config={'in_features': n}", key="in_features"
        )
    n = size if count is None else _count(config, "in_features", size, 1, 1 << 24)
    if any(bound.ndim > 1 or bound.size not in (1, n) for bound in (low, high)):
        raise ImportModelError(
            f"config['domain'] of shapes {low.shape} and {high.shape} for {n} inputs",
            f"numbers, or arrays of shape ({n},)",
        )
    low, high = (np.broadcast_to(bound.reshape(-1), n).copy() for bound in (low, high))
    wrong = ~(np.isfinite(low) & np.isfinite(high) & (low < high))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ImportModelError(f"config['domain'] of input {i} is ({low[i]:g}, {high[i]:g})", "finite, low < high")
    return low, high


def _count(config: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ImportModelError(f"config[{key!r}] = {value!r}", f"an integer from {low} to {high}")
    return int(value)


def _call(function: Any, X: F64) -> tuple[F64, float]:
    """Call a plain function with numpy, check what it returns, and tell its machine epsilon."""
    try:
        y = function(X.copy())
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise ImportModelError(
            f"the function fails on a float64 array of shape {X.shape} ({type(error).__name__}: {error})",
            "a function of numpy arrays [N, in]",
            "wrap a function of torch tensors: lambda X: f(torch.from_numpy(X)).numpy()",
        ) from error
    y = np.asarray(y.detach().cpu() if hasattr(y, "detach") else y)
    if y.dtype.kind not in "fiub" or y.ndim not in (1, 2) or len(y) != len(X):
        raise ImportModelError(
            f"the function returns {y.dtype} of shape {y.shape} for {len(X)} rows", "numbers of shape [N, out] or [N]"
        )
    eps = float(np.finfo(y.dtype if y.dtype.kind == "f" else np.float64).eps)
    return y.astype(np.float64).reshape(len(X), -1), eps


def _require_function_of_single_rows(probe: _Probe, rng: np.random.Generator) -> float:
    """Refuse what is not finite, depends on chance or on other rows; return the spread of the outputs."""
    X = probe.rows(rng, PAIRS)
    y = probe(X)
    if not np.isfinite(y).all():
        row, output = (int(v) for v in np.argwhere(~np.isfinite(y))[0])
        raise ImportModelError(
            f"output {output} is {y[row, output]} on a row of the domain",
            "finite outputs on the whole domain",
            "narrow the domain",
        )
    spread, allowed = float(np.ptp(y, axis=0).max()), probe.allowed(y)
    again = np.abs(probe(X) - y)
    if (again > allowed).any():
        raise ImportModelError(
            f"two calls with the same rows differ by {again.max():.3g}, the outputs spread by {spread:.3g}",
            "a function that does not depend on chance or on earlier calls",
            "switch dropout and sampling off",
        )
    alone = np.concatenate([probe(row[None]) for row in X[:8]])
    apart = np.abs(alone - y[:8]) if alone.shape == y[:8].shape else np.full(1, np.inf)
    if not (apart <= allowed).all():
        raise ImportModelError(
            f"a row answers differently alone and in a batch, by {apart.max():.3g}, the outputs spread by {spread:.3g}",
            f"at most {ADDITIVE:g} of the spread",
            "freeze what looks at the batch: batch norm in training mode, or a min-max normalisation (KALN)",
        )
    return spread


def _require_additive(probe: _Probe, rng: np.random.Generator, spread: float) -> float:
    """Refuse a function that couples inputs; return the deviation from a sum, relative to the spread."""
    x, y = probe.rows(rng, PAIRS), probe.rows(rng, PAIRS)
    pick = rng.random(x.shape) < 0.5
    values = probe(np.concatenate([x, y, np.where(pick, x, y), np.where(pick, y, x)]))
    first, second, mixed, other = values.reshape(4, PAIRS, -1)
    deviation = np.abs(first + second - mixed - other)
    if not (deviation <= probe.allowed(values)).all():
        output = int((deviation.max(axis=0) - probe.allowed(values)).argmax())
        worst, here = deviation[:, output].max(), np.ptp(values[:, output])
        raise ImportModelError(
            f"{probe.name} is not a sum of functions of its single inputs: output {output} deviates from a sum by "
            f"{worst:.3g}, {worst / here:.2g} of its spread",
            f"at most {ADDITIVE:g} of the spread",
            "a LayerNorm, a softmax, a product or a second layer couples the inputs: import the layers one by one, or "
            "the module itself without family=",
        )
    return float(deviation.max()) / spread if spread > 0 else 0.0


def _sample(probe: _Probe) -> tuple[F64, F64, float]:
    """Sample all edge functions and fit splines: bias [out], coefficients [in, C, out], largest error of an edge."""
    segments, degree = probe.segments, probe.degree
    knots = np.arange(-degree, segments + degree + 1, dtype=np.float64)[None]
    fitted, between = np.arange(segments + 1.0), np.arange(segments) + 0.5
    if degree == 3:  # two more conditions: the middles of the end segments
        fitted, between = np.append(fitted, between[[0, -1]]), between[1:-1]
        between = np.append(between, [0.25, 0.75, segments - 0.75, segments - 0.25])
    points = np.append(fitted, between)
    basis = bspline.basis(points[:, None], knots, degree)[:, 0]
    solve = np.linalg.inv(basis[: fitted.size])

    base = probe(probe.middle[None])[0]
    if not np.isfinite(base).all():
        raise ImportModelError(
            f"output {int(np.argmin(np.isfinite(base)))} is not finite in the middle of the domain",
            "finite outputs on the whole domain",
            "choose the domain so that its middle is an ordinary point",
        )
    coefficients = np.empty((probe.in_features, basis.shape[1], base.size))
    error = 0.0
    at_once = max(1, BATCH_NUMBERS // (probe.in_features * points.size))
    for start in range(0, probe.in_features, at_once):
        mine = np.arange(start, min(start + at_once, probe.in_features))
        x = probe.low[mine, None] + points / segments * (probe.high - probe.low)[mine, None]
        X = np.tile(probe.middle, (mine.size, points.size, 1))
        X[np.arange(mine.size), :, mine] = x
        values = probe(X.reshape(-1, probe.in_features)).reshape(mine.size, points.size, base.size) - base
        if not np.isfinite(values).all():
            i, s, j = (int(v) for v in np.argwhere(~np.isfinite(values))[0])
            raise ImportModelError(
                f"output {j} is not finite where input {int(mine[i])} is {x[i, s]:.6g}",
                "finite outputs on the whole domain",
                "narrow the domain of that input",
            )
        coefficients[mine] = np.matmul(solve, values[:, : fitted.size])
        misses = np.abs(np.matmul(basis[fitted.size :], coefficients[mine]) - values[:, fitted.size :])
        error = max(error, float(misses.max(initial=0.0)))
    return base, coefficients, error
