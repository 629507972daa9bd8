"""What happens beyond the tables: the policies of LUT-KAN against the trained model and against their own definitions.

A spline of pykan is zero at both ends of its extended knots. Tables of the spline alone therefore answer the same under
every policy, and an experiment on them cannot tell one policy from another. Here stand networks on which the policies
differ: tables of whole edges (`phi`), splines that do not end in zero, and Gaussians cut off at the ends of their grid;
and inputs from N(0, 1) that nobody clipped, and the same inputs clipped, which puts some of them exactly on the last
knot, where `closed` and `half_open` differ.

The definitions are written here from the tensors, in float64, and share no code with the tables.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import InputError, VerificationError
from lutkan.lab import nets
from lutkan.lab.experiment import Run, run_experiment
from lutkan.lab.nets import Drawn
from lutkan.runtimes import load
from lutkan.tables import SegmentSpec, Spec, compile_network

__all__ = [
    "GROUPS",
    "NETS",
    "POLICIES",
    "OutsideCell",
    "Subject",
    "cells",
    "defined",
    "measure",
    "require_policies",
    "run_oob",
    "tells_apart",
]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Layer = Mapping[str, F64]

#: `boundary_mode/oob_policy`, the paper's 2x2 matrix, and what the trained model does.
POLICIES = (
    "half_open/clip_x",
    "closed/clip_x",
    "half_open/zero_spline",
    "closed/zero_spline",
    "half_open/model",
)
#: Rows by their worst input: inside the tables' domain, exactly on its upper end, beyond it.
GROUPS = ("inside", "border", "outside")
SEEDS = (0, 1, 2, 3, 4)
ROWS = 2048
SAMPLES = 64
# A policy holds if its tables are not much farther from its definition than from that of any other.
_NEAR = 2.0
# Policies are told apart where tables of one are so many times farther from the definition of the other.
_FAR = 10.0
# Errors of 8-bit tables that are next to nothing all the same.
_TINY = 1e-6


@dataclass(frozen=True)
class Subject:
    """A network of the matrix.

    Attributes
    ----------
    family : str
        Which of the drawn networks.
    widths : tuple of int
    value : str
        What the tables hold.
    domain : (float, float)
        What the tables cover.
    cut : bool
        Whether the domain has to be given to the spec: the family has no knots.
    """

    family: str
    widths: tuple[int, ...]
    value: str
    domain: tuple[float, float]
    cut: bool = False

    def draw(self, seed: int) -> Drawn:
        """Return the network."""
        if self.family == "efficient-kan":
            return nets.efficient_kan(self.widths, seed, intervals=8)
        return (nets.fast_kan if self.family == "fast-kan" else nets.kanditioned)(self.widths, seed)

    def spec(self, policy: str) -> Spec:
        """Return the spec of its tables under a policy."""
        boundary, outside = policy.split("/")
        cut = self.cut and outside != "model"
        return Spec(
            SegmentSpec(
                SAMPLES,
                value=self.value,  # type: ignore[arg-type]
                boundary_mode=boundary,  # type: ignore[arg-type]
                oob_policy=outside,  # type: ignore[arg-type]
                domain=self.domain if cut else None,
                segments=8 if cut else None,
            )
        )


#: The networks by name; on the last one, the paper's own, no policy can be told from another.
NETS = {
    "phi tables": Subject("efficient-kan", (10, 8), "phi", (-1.75, 1.75)),
    "phi tables, two layers": Subject("efficient-kan", (10, 8, 4), "phi", (-1.75, 1.75)),
    "splines with non-zero ends": Subject("kanditioned", (10, 8), "auto", (-2.0, 2.0)),
    "fast-kan cut at its grid": Subject("fast-kan", (10, 8), "auto", (-2.0, 2.0), cut=True),
    "splines that end in zero": Subject("efficient-kan", (10, 8), "spline_component", (-1.75, 1.75)),
}


@dataclass(frozen=True)
class OutsideCell:
    """A network under a policy."""

    net: str
    seed: int
    policy: str


def cells(names: Sequence[str] = tuple(NETS), seeds: Sequence[int] = SEEDS) -> list[OutsideCell]:
    """Return the cells of the matrix.

    Raises
    ------
    InputError
        An unknown network.

    Examples
    --------
    >>> len(cells(["phi tables"], [0]))
    5
    """
    unknown = [name for name in names if name not in NETS]
    if unknown:
        raise InputError(f"no network {unknown[0]!r} in the matrix", ", ".join(NETS))
    return [OutsideCell(name, seed, policy) for name in names for seed in seeds for policy in POLICIES]


def run_oob(
    output: Path,
    *,
    names: Sequence[str] = tuple(NETS),
    seeds: Sequence[int] = SEEDS,
    rows: int = ROWS,
    workers: int = 1,
    ray: bool = False,
    again: bool = False,
    on_cell: Callable[[int], None] | None = None,
) -> Run:
    """Run the matrix into a result file, or go on with it; see `run_experiment`."""
    return run_experiment(
        "oob",
        cells(names, seeds),
        functools.partial(measure, rows=rows),
        output,
        parameters={"rows": rows, "samples": SAMPLES},
        seeds=seeds,
        workers=workers,
        ray=ray,
        again=again,
        on_cell=on_cell,
    )


def measure(cell: OutsideCell, rows: int) -> dict[str, Any]:
    """Measure a cell: errors by group of rows against the model, and against every policy's definition."""
    subject = NETS[cell.net]
    model = subject.draw(cell.seed)
    x, groups, share = _rows(cell.net, cell.seed, rows)
    artifact = compile_network(model.network, subject.spec(cell.policy), x.astype(np.float64), calibrated=True)
    found = load(artifact).predict(x)
    trained = model.network.evaluate(x)
    values: dict[str, Any] = {
        "out_share": share,
        "rows": {group: int(mine.sum()) for group, mine in groups.items()},
        "spread": float(trained.std()),
        "against_model": _errors(found, trained, groups),
        "against_definition": {
            policy: _errors(found, defined(model, subject, policy, x), groups) for policy in POLICIES
        },
    }
    return values


def _errors(found: F32, wanted: F64, groups: Mapping[str, NDArray[np.bool_]]) -> dict[str, dict[str, float]]:
    gap = np.abs(found - wanted)
    return {
        group: {"mae": float(gap[mine].mean()), "max": float(gap[mine].max())}
        for group, mine in groups.items()
        if mine.any()
    }


@functools.lru_cache(maxsize=2)
def _rows(name: str, seed: int, count: int) -> tuple[F32, dict[str, NDArray[np.bool_]], float]:
    """Draw N(0, 1), half of it clipped to the domain; return the rows, their groups, and the share of inputs beyond."""
    subject = NETS[name]
    low, high = subject.domain
    rng = np.random.default_rng((2026, seed))
    drawn = rng.standard_normal((count, subject.widths[0])).astype(np.float32)
    x = np.concatenate([drawn, np.clip(drawn, np.float32(low), np.float32(high))])
    model = subject.draw(seed)
    seen = _table_inputs(model, x)
    outside = np.any([((z < low) | (z > high)).any(axis=1) for z in seen], axis=0)
    border = np.any([(z == high).any(axis=1) for z in seen], axis=0) & ~outside
    first = seen[0][:count]
    return (
        x,
        {"inside": ~outside & ~border, "border": border, "outside": outside},
        float(((first < low) | (first > high)).mean()),
    )


# --- the definitions ---


def _layers(model: Drawn) -> list[Layer]:
    layers: dict[str, dict[str, F64]] = {}
    for key, array in model.state.items():
        _, number, name = key.split(".", 2)
        layers.setdefault(number, {})[name] = array.astype(np.float64)
    return list(layers.values())


def _normalised(family: str, layer: Layer, x: F64) -> F64:
    """Return what the tables of a layer see."""
    if family != "fast-kan":
        return x
    centred = x - x.mean(axis=1, keepdims=True)
    unit = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return unit * layer["layernorm.weight"] + layer["layernorm.bias"]


def _cubic(distance: F64) -> F64:
    """Return the cardinal cubic B-spline at a distance from its middle, in knot intervals."""
    d = np.abs(distance)
    return np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.where(d < 2, (2 - d) ** 3 / 6, 0.0))


def _splines(family: str, layer: Layer, z: F64) -> F64:
    """Return every edge's spline part at points: float64 [N, in] -> [N, in, out]."""
    if family == "efficient-kan":
        knots = layer["grid"][0]
        step = (knots[-1] - knots[0]) / (len(knots) - 1)
        middles = knots[0] + step * (2 + np.arange(layer["spline_weight"].shape[2]))
        weight = layer["spline_weight"] * layer["spline_scaler"][:, :, None]
        return np.einsum("nic,oic->nio", _cubic((z[:, :, None] - middles) / step), weight)
    if family == "fast-kan":
        centres = layer["rbf.grid"]
        bumps = np.exp(-(((z[:, :, None] - centres) / (centres[1] - centres[0])) ** 2))
        weight = layer["spline_linear.weight"].reshape(-1, z.shape[1], len(centres))
        return np.einsum("nic,oic->nio", bumps, weight)
    weight = layer["kan_weight"]
    points = np.linspace(-nets.KANDITIONED_WIDTH / 2, nets.KANDITIONED_WIDTH / 2, weight.shape[1])
    cell = np.clip(np.floor((z - points[0]) / (points[1] - points[0])).astype(int), 0, len(points) - 2)
    part = ((z - points[cell]) / (points[1] - points[0]))[:, :, None]
    inputs = np.arange(z.shape[1])
    return (1 - part) * weight[inputs, cell] + part * weight[inputs, cell + 1]


def _bases(family: str, layer: Layer, x: F64) -> F64:
    """Return every edge's base part: float64 [N, in] -> [N, in, out]; zero where the family has none."""
    weight = {"efficient-kan": "base_weight", "fast-kan": "base_linear.weight"}.get(family)
    if weight is None:
        return np.zeros((1, 1, 1))
    return (x / (1 + np.exp(-x)))[:, :, None] * layer[weight].T


def defined(model: Drawn, subject: Subject, policy: str, x: F32) -> F64:
    """Answer as a policy is defined, in float64 and without any table: float32 [N, in] -> float64 [N, out].

    `clip_x` evaluates the tabulated function at the nearest point of the domain (for `half_open` the float32 number
    below its upper end), `zero_spline` takes 0 for it beyond the domain (for `half_open` at the upper end too), `model`
    evaluates it where the input is. With `phi` tables the function is the whole edge; otherwise it is the spline, and
    the base branch sees the input as it is.

    Examples
    --------
    >>> subject = NETS["phi tables"]
    >>> model = subject.draw(0)
    >>> bool(defined(model, subject, "closed/zero_spline", np.full((1, 10), 9.0, np.float32)).any())
    False
    """
    boundary, outside = policy.split("/")
    low, high = subject.domain
    whole = subject.value == "phi"
    value = x.astype(np.float64)
    for layer in _layers(model):
        z = _normalised(subject.family, layer, value)
        at = z
        inside = (z >= low) & ((z < high) if boundary == "half_open" else (z <= high))
        if outside == "clip_x":
            top = np.nextafter(np.float32(high), np.float32(-np.inf)) if boundary == "half_open" else high
            at = np.clip(z, low, float(top))
        tabulated = _splines(subject.family, layer, at)
        base = _bases(subject.family, layer, at if whole else value)
        if whole:
            tabulated = tabulated + base
        if outside == "zero_spline":
            tabulated = np.where(inside[:, :, None], tabulated, 0.0)
        value = (tabulated if whole else tabulated + base).sum(axis=1)
        value = value + layer.get("base_linear.bias", np.zeros(1))
    return value


def _table_inputs(model: Drawn, x: F32) -> list[F64]:
    """Return what the tables of every layer see where the trained model runs."""
    seen = []
    value = x.astype(np.float64)
    for layer in _layers(model):
        z = _normalised(model.family, layer, value)
        seen.append(z)
        value = (_splines(model.family, layer, z) + _bases(model.family, layer, value)).sum(axis=1)
        value = value + layer.get("base_linear.bias", np.zeros(1))
    return seen


# --- what the matrix says ---


def tells_apart(values: Mapping[str, Any], policy: str, other: str) -> bool:
    """Tell whether the rows of a cell, whose tables follow `policy`, could betray that they follow `other` instead."""
    mine, theirs = (values["against_definition"][name] for name in (policy, other))
    return any(theirs[group]["mae"] > _FAR * max(mine[group]["mae"], _TINY) for group in mine)


def require_policies(run: Run) -> None:
    """Require that all tables follow the policy that they were compiled for.

    Raises
    ------
    VerificationError
        The tables of a cell are farther from the definition of their policy than from that of another one.
    """
    for cell in run.cells:
        policy = cell["params"]["policy"]
        definitions = cell["values"]["against_definition"]
        for group, own in definitions[policy].items():
            nearest = min(POLICIES, key=lambda name: definitions[name][group]["mae"])
            if own["mae"] > _NEAR * max(definitions[nearest][group]["mae"], _TINY):
                raise VerificationError(
                    f"{cell['params']['net']}, seed {cell['params']['seed']}: tables for {policy} are {own['mae']:.3g} "
                    f"from its definition on {group} rows, but {definitions[nearest][group]['mae']:.3g} from {nearest}",
                    "tables that follow the policy they were compiled for",
                )
