"""The search: what every layer costs by itself, the best combinations of layers, and what they measure together.

A layer's candidates differ in coefficient bits, position bits, in whether the base branch is folded in, and (where
edges are projected) in the number of intervals. The error of a candidate is first measured with all other layers exact;
combinations that look best by bytes and root sum of squares are then measured as they are. Fewer bits are tried only
while a smaller network could still meet the limit, and codes are fitted to the calibration rows, which takes its time,
only where that could meet it.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.artifact.codec import encode_program
from lutkan.artifact.program import BasisTable, KANOp, KnotTable, ProductTable, Program, RadialTable
from lutkan.errors import InputError, SpecError
from lutkan.ir import KANLayer, Network
from lutkan.runtimes import load
from lutkan.search.cost import estimated_ns
from lutkan.tables import BasisSpec, LayerPlan, Spec, assemble, compile_layer, plan_network
from lutkan.verify import decisions, measured_rows, with_golden

__all__ = ["Candidate", "SearchResult", "figures_bytes", "pareto_table", "search_spec"]

F64 = NDArray[np.float64]
_T = TypeVar("_T")
#: Without a limit: the largest error as a part of the standard deviation of the model's outputs.
DEFAULT_SHARE = 0.01

_BITS = (16, 8, 4, 3, 2)
# Beside the default of the spec.
_POSITION_BITS = {16: (12, 8), 8: (6, 10)}
_FEW_POSITIONS = (6,)
_INTERVALS = (8, 16, 64, 128)
# Combinations that are kept while layers are put together, and that are measured in the end.
_FRONTIER = 64
_MEASURED = 16
_REFINED = 6
# Rows of the Pareto table that a manifest holds, and the bytes of figures without and with each layer.
_LISTED = 16
_FIGURES_BYTES = (1100, 350)
# What fitting codes to the rows leaves of the error of rounding to nearest, at best.
_FIT_GAIN = {8: 0.4, 4: 0.15, 3: 0.15, 2: 0.15}
# A variant this much worse than the best one counts as good as it where it takes fewer bytes; and the edges up to which
# all variants are fitted.
_NEARLY = 1.1
_FEW_EDGES = 512


@dataclass(frozen=True)
class Candidate:
    """A spec that was compiled and measured.

    Attributes
    ----------
    spec : Spec
    bytes : int
        Size of the file, with what was reserved for the figures that compiling adds to its manifest.
    max_abs, mae : float
        |artifact - model| on the calibration rows of the search.
    agreement : float
        Share of rows with the same decision.
    estimated_ns : float
        Time a row in bulk, by the model of `lutkan.search.cost`.
    layers : tuple of str
        What was chosen for every layer: "8-bit p6 folded" is 8-bit coefficients, 6 position bits, and the base branch
        folded into the rows; "k16" is a projection on 16 intervals, "nearest" means that codes are not fitted.
    """

    spec: Spec
    bytes: int
    max_abs: float
    mae: float
    agreement: float
    estimated_ns: float
    layers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    chosen : Candidate
    pareto : tuple of Candidate
        Candidates that no other one beats in bytes and error, smallest first.
    measured : tuple of Candidate
        All that were measured, flat specs among them.
    criterion : str
        What was asked for.
    met : bool
        Whether `chosen` meets it; False only where no limit was given and the default share is out of reach.
    rows : int
        Calibration rows that the errors were measured on.
    artifacts : mapping of Spec to Artifact
        What the candidates compiled to, with golden vectors.
    """

    chosen: Candidate
    pareto: tuple[Candidate, ...]
    measured: tuple[Candidate, ...]
    criterion: str
    met: bool
    rows: int
    max_error: float | None = None
    target_bytes: int | None = None
    artifacts: dict[Spec, Artifact] = field(default_factory=dict, repr=False)

    @property
    def spec(self) -> Spec:
        """The spec of the chosen candidate."""
        return self.chosen.spec

    @property
    def artifact(self) -> Artifact:
        """What the chosen candidate compiled to."""
        return self.artifacts[self.spec]

    def ranked(self) -> tuple[Candidate, ...]:
        """Return the candidates that meet what was asked for, best first; the chosen one alone if none does."""
        if not self.met:
            return (self.chosen,)
        return tuple(_ranked(self.measured, self.max_error, self.target_bytes))

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest holds: the criterion and the Pareto table, a short list a candidate."""
        return {
            "criterion": self.criterion,
            "met": self.met,
            "rows": self.rows,
            "columns": ["bytes", "max_abs", "mae", "agreement", "estimated_ns", "layers"],
            "pareto": [
                [
                    c.bytes,
                    _three(c.max_abs),
                    _three(c.mae),
                    round(c.agreement, 4),
                    _three(c.estimated_ns),
                    "; ".join(c.layers),
                ]
                for c in _thin(list(self.pareto), _LISTED)
            ],
        }


def figures_bytes(net: Network) -> int:
    """Return about how many bytes the figures of a search and a certificate add to a manifest.

    Examples
    --------
    >>> import lutkan
    >>> figures_bytes(lutkan.import_model({"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32)}))
    1450
    """
    return _FIGURES_BYTES[0] + _FIGURES_BYTES[1] * len(net.layers)


def _three(value: float) -> float:
    return float(f"{value:.3g}")


def pareto_table(result: SearchResult) -> list[dict[str, Any]]:
    """Return the Pareto table as one dict a row, smallest file first; `chosen` marks the one that was taken.

    Examples
    --------
    >>> import lutkan
    >>> from lutkan.tables import calibration_rows
    >>> net = lutkan.import_model({"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32)})
    >>> table = pareto_table(search_spec(net, *calibration_rows(net, None, None), max_error=0.01))
    >>> [row["chosen"] for row in table].count(True)
    1
    """
    rows = list(result.pareto)
    if result.chosen not in rows:
        rows = sorted([*rows, result.chosen], key=lambda c: (c.bytes, c.max_abs))
    return [
        {
            "bytes": c.bytes,
            "max_abs": c.max_abs,
            "mae": c.mae,
            "agreement": c.agreement,
            "estimated_ns": c.estimated_ns,
            "layers": list(c.layers),
            "chosen": c is result.chosen,
        }
        for c in rows
    ]


def search_spec(
    net: Network,
    rows: F64,
    calibrated: bool,
    *,
    max_error: float | None = None,
    target_bytes: int | None = None,
    reserve: int = 0,
    on_progress: Callable[[str], None] | None = None,
) -> SearchResult:
    """Choose a spec layer by layer.

    Parameters
    ----------
    net : Network
    rows : float64 [N, in]
        Calibration rows; ranges are taken from all of them, errors measured on `lutkan.verify.measured_rows` of them.
    calibrated : bool
        Whether the rows are the user's own data.
    max_error : float, optional
        Take the smallest file whose largest |artifact - model| on the rows is at most that.
    target_bytes : int, optional
        Take the most exact one whose file is at most that large. With both limits given, the smallest that meets both.
        With none, the smallest whose largest error is at most 1 % of the standard deviation of the model's outputs,
        or the most exact one where none is.
    reserve : int
        Bytes that will be added to the file; see `figures_bytes`.
    on_progress : callable, optional
        Called with a short text before every step that takes time.

    Returns
    -------
    SearchResult

    Raises
    ------
    SpecError
        Nothing meets the limits; the message names what comes nearest.
    InputError
        The model is not finite on the rows.
    """
    search = _Search(net, rows, calibrated, reserve, on_progress or (lambda text: None))
    limit, criterion = max_error, ""
    if max_error is None and target_bytes is None:
        limit = DEFAULT_SHARE * search.spread
        criterion = f"max error at most {limit:.3g}, 1 % of the standard deviation of the outputs"
    elif max_error is not None:
        criterion = f"max error at most {max_error:g}"
    if target_bytes is not None:
        criterion = f"{criterion}, " * bool(criterion) + f"at most {target_bytes} bytes"
    search.widen(16, limit)
    measured = search.measure(limit, target_bytes)
    for bits in _BITS[1:]:
        if not search.worthwhile(bits, measured, limit, target_bytes):
            break
        search.widen(bits, limit)
        measured = search.measure(limit, target_bytes)
    ranked = _ranked(measured, limit, target_bytes)
    met = bool(ranked)
    if not met and (max_error is not None or target_bytes is not None):
        _refuse(measured, max_error, target_bytes)
    chosen = ranked[0] if met else min(measured, key=lambda c: (c.max_abs, c.bytes))
    return SearchResult(
        chosen, _pareto(measured), tuple(measured), criterion, met, len(search.x), limit, target_bytes, search.artifacts
    )


def _refuse(measured: Sequence[Candidate], max_error: float | None, target_bytes: int | None) -> None:
    small = min(measured, key=lambda c: (c.bytes, c.max_abs))
    exact = min(measured, key=lambda c: (c.max_abs, c.bytes))
    if max_error is not None and exact.max_abs > max_error:
        raise SpecError(
            f"max_error = {max_error:g}: the most exact tables found reach {exact.max_abs:.3g} "
            f"with {exact.bytes} bytes ({'; '.join(exact.layers)})",
            f"at least {exact.max_abs:.3g}",
            "a larger max_error, or rows that cover the inputs better",
        )
    if target_bytes is not None and small.bytes > target_bytes:
        raise SpecError(
            f"target_bytes = {target_bytes}: the smallest file found takes {small.bytes} with a max error of "
            f"{small.max_abs:.3g} ({'; '.join(small.layers)})",
            f"at least {small.bytes}",
            "more bytes, or a smaller network",
        )
    within = [c for c in measured if target_bytes is None or c.bytes <= target_bytes]
    best = min(within, key=lambda c: (c.max_abs, c.bytes))
    raise SpecError(
        f"max_error = {max_error:g} within {target_bytes} bytes: the most exact that fits reaches {best.max_abs:.3g} "
        f"with {best.bytes} bytes ({'; '.join(best.layers)})",
        "limits that meet",
        f"a max_error of {best.max_abs:.3g}, or more bytes",
    )


def _ranked(measured: Iterable[Candidate], max_error: float | None, target_bytes: int | None) -> list[Candidate]:
    """Return the candidates within the limits, best first."""
    fitting = [
        c
        for c in measured
        if (max_error is None or c.max_abs <= max_error) and (target_bytes is None or c.bytes <= target_bytes)
    ]
    if max_error is None:
        return sorted(fitting, key=lambda c: (c.max_abs, c.bytes, c.estimated_ns))
    return sorted(fitting, key=lambda c: (c.bytes, c.estimated_ns, c.max_abs))


def _pareto(measured: Iterable[Candidate]) -> tuple[Candidate, ...]:
    kept: list[Candidate] = []
    for candidate in sorted(measured, key=lambda c: (c.bytes, c.max_abs, c.estimated_ns)):
        if not kept or candidate.max_abs < kept[-1].max_abs:
            kept.append(candidate)
    return tuple(kept)


@dataclass(frozen=True, eq=False)
class _Option:
    """A compiled layer: what it takes, and what it does to the network's output with all other layers exact."""

    spec: BasisSpec
    plan: LayerPlan
    op: KANOp
    bytes: int
    error: float

    @cached_property
    def text(self) -> str:
        spec, table = self.spec, self.op.branches[0].table
        parts = [f"{spec.coefficient_bits}-bit"]
        if not isinstance(table, (KnotTable, ProductTable)):
            parts.append(f"p{spec.resolved_position_bits}")
        if isinstance(table, BasisTable) and spec.segments is not None:
            parts.append(f"k{spec.segments}")
        if isinstance(table, BasisTable) and table.base is not None:
            parts.append("folded")
        if spec.rounding == "nearest":
            parts.append("nearest")
        return " ".join(parts)


class _Search:
    """State of one search: the options of every layer, and the combinations measured so far."""

    def __init__(self, net: Network, rows: F64, calibrated: bool, reserve: int, tell: Callable[[str], None]) -> None:
        self.net, self.rows, self.calibrated, self.reserve, self.tell = net, rows, calibrated, reserve, tell
        self.trace = net.trace(rows)
        # Artifact and model see float32 numbers, as in `verify`.
        self.x = measured_rows(rows).astype(np.float32)
        self.exact_trace = net.trace(self.x.astype(np.float64))
        self.exact = self.exact_trace[-1]
        if not np.isfinite(self.exact).all():
            raise InputError("the model is not finite on the calibration rows", "rows on which it is")
        self.spread = float(self.exact.std())
        self.steps = [index for index, step in enumerate(net.steps) if isinstance(step, KANLayer)]
        self.names = tuple(layer.name for layer in net.layers)
        self.options: list[list[_Option]] = [[] for _ in self.steps]
        self.flats: list[tuple[_Option, ...]] = []
        self.plans: dict[BasisSpec, tuple[LayerPlan, ...]] = {}
        self.found: dict[tuple[BasisSpec, ...], Candidate] = {}
        self.measured: dict[tuple[BasisSpec, ...], tuple[tuple[_Option, ...], Candidate]] = {}
        self.artifacts: dict[Spec, Artifact] = {}
        self.seen: set[tuple[int, bytes]] = set()

    # ---- options of a layer

    def widen(self, bits: int, limit: float | None) -> None:
        """Compile the options of all layers with that many coefficient bits."""
        flat: list[_Option | None] = []
        for number in range(len(self.steps)):
            if not self._layer_worthwhile(number, bits, limit):
                flat.append(None)
                continue
            self.tell(f"layer {number + 1} of {len(self.steps)} with {bits}-bit coefficients")
            options = [self._option(number, spec) for spec in self._variants(number, bits)]
            flat.append(options[0] if bits == 16 else None)
            # Codes of 8 bits and fewer may be fitted to the rows. That takes its time, so that rounding to nearest has
            # to tell first which variants are worth it.
            if bits < 16 and (limit is None or min(o.error for o in options) * _FIT_GAIN[bits] <= limit):
                self.tell(f"layer {number + 1} of {len(self.steps)} with {bits}-bit coefficients, fitted")
                fitted = [self._option(number, spec) for spec in self._fits(number, bits, options)]
                flat[-1] = fitted[0]
                options += fitted
            self.options[number] += self._new(number, options)
        if all(flat):
            self.flats.append(tuple(option for option in flat if option is not None))

    def _fits(self, number: int, bits: int, options: Sequence[_Option]) -> list[BasisSpec]:
        """Return the specs worth fitting: the named one of these bits first."""
        named = BasisSpec(coefficient_bits=bits)  # type: ignore[arg-type]
        exact = min(options, key=lambda option: (option.error, option.bytes))
        near = [option for option in options if option.error <= _NEARLY * exact.error]
        chosen = [exact, min(near, key=lambda option: (option.bytes, option.error))]
        n_in, n_out = self.net.layers[number].shape
        if n_in * n_out <= _FEW_EDGES:
            chosen = list(options)
        return list(dict.fromkeys([named, *(replace(option.spec, rounding="auto") for option in chosen)]))

    def _new(self, number: int, options: Sequence[_Option]) -> list[_Option]:
        """Leave out what has compiled to the same tables before."""
        kept = []
        for option in options:
            program = Program(option.op.in_features, (option.op,))
            key = (number, b"".join(array.tobytes() for _, array in sorted(encode_program(program)[1].items())))
            if key not in self.seen:
                self.seen.add(key)
                kept.append(option)
        return kept

    def _variants(self, number: int, bits: int) -> list[BasisSpec]:
        """Return the specs to try with these bits, all rounded to nearest; the first one is the named one otherwise."""
        plain = BasisSpec(coefficient_bits=bits, rounding="auto" if bits == 16 else "nearest")  # type: ignore[arg-type]
        specs = [plain, *self._foldings(number, plain)]
        first = self._option(number, plain)
        if isinstance(first.op.branches[0].table, (BasisTable, RadialTable)):
            specs += [
                replace(spec, position_bits=p) for spec in specs for p in _POSITION_BITS.get(bits, _FEW_POSITIONS)
            ]
        if self._projected(first):
            specs += [replace(plain, segments=s) for s in _INTERVALS]
        return specs

    def _foldings(self, number: int, spec: BasisSpec) -> list[BasisSpec]:
        """Return the other ways to treat the base branch of a layer."""
        found = []
        for base in ("fold", "apart"):
            try:
                plan = self._plan(number, replace(spec, base=base))
            except SpecError:  # this layer's base branch cannot be folded in
                continue
            if len(plan.branches) != len(self._plan(number, spec).branches):
                found.append(replace(spec, base=base))
        return found

    def _projected(self, option: _Option) -> bool:
        """Tell whether the number of intervals is free: whether asking for another one changes the table."""
        table = option.op.branches[0].table
        if not isinstance(table, BasisTable) or table.base is not None:
            return False
        number = self.steps.index(option.plan.step)
        other = replace(option.spec, segments=table.segments + 1)
        values = self._plan(number, other).branches[0].values
        return getattr(values, "segments", None) == table.segments + 1

    def _plan(self, number: int, spec: BasisSpec) -> LayerPlan:
        """Plan one layer; what only matters when it is quantized is left to `compile_layer`."""
        plain = replace(spec, position_bits=None, rounding="auto")
        if plain not in self.plans:
            try:
                self.plans[plain] = plan_network(self.net, Spec(plain), self.trace)
            except SpecError:  # "fold" is not for every layer of this network
                own = Spec(replace(plain, base="auto"), ((str(number), plain),))
                return replace(plan_network(self.net, own, self.trace)[number], spec=spec)
        return replace(self.plans[plain][number], spec=spec)

    def _option(self, number: int, spec: BasisSpec) -> _Option:
        plan = self._plan(number, spec)
        op = compile_layer(plan)
        alone = Program(op.in_features, (op,))
        y = load(Artifact(alone)).predict(self.exact_trace[plan.step].astype(np.float32)).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            for step in self.net.steps[plan.step + 1 :]:
                y = step.evaluate(y)
            error = float(np.abs(y - self.exact).max())
        nbytes = sum(array.nbytes for array in encode_program(alone)[1].values())
        return _Option(spec, plan, op, nbytes, error if np.isfinite(error) else np.inf)

    # ---- combinations

    def worthwhile(
        self, bits: int, measured: Sequence[Candidate], limit: float | None, target_bytes: int | None
    ) -> bool:
        """Tell whether fewer bits could bring the network within the limits, or make it smaller within them."""
        if limit is None:
            return target_bytes is not None and min(c.bytes for c in measured) > target_bytes
        return any(self._layer_worthwhile(number, bits, limit) for number in range(len(self.steps)))

    def _layer_worthwhile(self, number: int, bits: int, limit: float | None) -> bool:
        if bits >= 8 or limit is None:
            return True
        best = min(option.error for option in self.options[number] if option.spec.coefficient_bits == 8)
        return best * 2.0 ** (8 - bits) * _FIT_GAIN[bits] <= limit

    def measure(self, limit: float | None, target_bytes: int | None) -> list[Candidate]:
        """Measure the flat specs and the most promising combinations; return all that have been measured."""
        for flat in self.flats:
            self._candidate(flat)
        frontier = self._frontier()
        for combination in _thin(frontier, _MEASURED):
            self._candidate(combination)
        # Between the best one that fits and the next one that does not, the frontier may hold a better one.
        for _ in range(_REFINED):
            best = next(iter(_ranked(self.found.values(), limit, target_bytes)), None)
            if best is None:
                break
            left = [c for c in frontier if _key(c) not in self.found and self._better(c, best, limit, target_bytes)]
            if not left:
                break
            self._candidate(left[-1] if limit is not None else left[0])
        return list(self.found.values())

    def _better(
        self, combination: tuple[_Option, ...], best: Candidate, limit: float | None, target_bytes: int | None
    ) -> bool:
        """Tell whether a combination looks better than the best measured one, and within the limits."""
        known = next(options for options in self.measured.values() if options[1] is best)[0]
        saved = sum(option.bytes for option in known) - sum(option.bytes for option in combination)
        expected = best.max_abs * _size(combination) / max(_size(known), 1e-300)
        if limit is not None:
            return saved > 0 and expected <= limit
        return target_bytes is not None and expected < best.max_abs and best.bytes - saved <= target_bytes

    def _frontier(self) -> list[tuple[_Option, ...]]:
        """Combine the layers' options: what no other combination beats in bytes and root sum of squares."""
        frontier: list[tuple[_Option, ...]] = [()]
        for options in self.options:
            useful = _undominated([(option,) for option in options])
            frontier = _thin(_undominated([(*c, *o) for c in frontier for o in useful]), _FRONTIER)
        return frontier

    def _candidate(self, combination: tuple[_Option, ...]) -> None:
        """Compile a combination and measure it, once."""
        key = _key(combination)
        if key in self.found:
            return
        self.tell(f"combination {len(self.found) + 1}")
        spec = _spec_of([option.spec for option in combination], self.names)
        plans, ops = [option.plan for option in combination], [option.op for option in combination]
        artifact = with_golden(assemble(self.net, spec, plans, ops, self.trace, self.calibrated), self.rows)
        y = load(artifact).predict(self.x).astype(np.float64)
        with np.errstate(invalid="ignore"):
            error = np.nan_to_num(np.abs(y - self.exact), nan=np.inf)
        found = Candidate(
            spec,
            artifact.nbytes + self.reserve,
            float(error.max()),
            float(error.mean()),
            float(np.mean(decisions(y) == decisions(self.exact))),
            estimated_ns(artifact.program, artifact.info["calibration"]["outside_share"]),
            tuple(option.text for option in combination),
        )
        self.found[key] = found
        self.measured[key] = combination, found
        self.artifacts[spec] = artifact


def _key(combination: tuple[_Option, ...]) -> tuple[BasisSpec, ...]:
    return tuple(option.spec for option in combination)


def _size(combination: tuple[_Option, ...]) -> float:
    """Return the error that a combination is expected to have: layers' errors add up like independent ones."""
    return float(np.sqrt(sum(option.error**2 for option in combination)))


def _bytes(combination: tuple[_Option, ...]) -> int:
    return sum(option.bytes for option in combination)


def _undominated(combinations: list[tuple[_Option, ...]]) -> list[tuple[_Option, ...]]:
    """Return the combinations that no other one beats, smallest first."""
    kept: list[tuple[_Option, ...]] = []
    for combination in sorted(combinations, key=lambda c: (_bytes(c), _size(c))):
        if not kept or _size(combination) < _size(kept[-1]):
            kept.append(combination)
    return kept


def _thin(entries: list[_T], most: int) -> list[_T]:
    """Return at most `most` of them, evenly spread, both ends included."""
    if len(entries) <= most:
        return entries
    return [entries[int(i)] for i in np.rint(np.linspace(0, len(entries) - 1, most))]


def _spec_of(specs: Sequence[BasisSpec], names: tuple[str, ...]) -> Spec:
    """Write the layers' specs as one spec: the most frequent one as default, the others by number or name."""
    default = Counter(specs).most_common(1)[0][0]
    others = [(number, spec) for number, spec in enumerate(specs) if spec != default]
    by_number = tuple((str(number), spec) for number, spec in others)
    by_name = tuple((glob.escape(names[number]), spec) for number, spec in others)
    for overrides in (by_number, by_name):
        spec = Spec(default, overrides)
        if all(spec.for_layer(number, names[number]) == own for number, own in enumerate(specs)):
            return spec
    raise SpecError(
        f"layers named {', '.join(names)} cannot be told apart by a spec's patterns", "names that are no other's number"
    )
