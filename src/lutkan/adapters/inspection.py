"""What a checkpoint, module or function is, told without compiling it: the report behind `lutkan inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.adapters.checkpoint import Checkpoint, read_checkpoint, read_torch_file
from lutkan.adapters.generic import GENERIC, GENERIC_KEYS
from lutkan.adapters.importer import families_named, import_model
from lutkan.adapters.live import is_live_module, unwrap
from lutkan.adapters.options import ConfigNeededError
from lutkan.adapters.pykan_checkpoint import saved_checkpoint_prefix
from lutkan.adapters.registry import family_named
from lutkan.adapters.state_dict import find_layers
from lutkan.ir import BSpline, EdgeBank, KANLayer, Network, Polynomial

__all__ = ["Inspection", "LayerReport", "inspect_source"]


@dataclass(frozen=True)
class LayerReport:
    """One KAN layer.

    Attributes
    ----------
    name : str
        Path in the source.
    inputs, outputs, live_edges : int
        Live edges are those that can be non-zero.
    branches : tuple of str
        What the branches are, with what their input goes through first.
    basis : str
        Kind of the spline branch's basis: "bspline", "gaussian_rbf", "polynomial", ...
    degree, intervals : int or None
        Degree of splines and polynomials; intervals `G` of the core grid.
    knots : str
        "uniform" or "non-uniform", "shared" or "per input", how many inputs repeat a knot; "" without knots.
    domain, support : (low, high) or None
        The trained interval, and the one outside of which the spline branch is zero; the widest over the inputs.
    """

    name: str
    inputs: int
    outputs: int
    live_edges: int
    branches: tuple[str, ...]
    basis: str = ""
    degree: int | None = None
    intervals: int | None = None
    knots: str = ""
    domain: tuple[float, float] | None = None
    support: tuple[float, float] | None = None


@dataclass(frozen=True)
class Inspection:
    """What `inspect_source` found.

    Attributes
    ----------
    origin : str
        File name, class name or "state_dict".
    family : str
        Source family; several joined by "+" in a live module of several.
    in_features, out_features : int or None
        None where the import needs more configuration.
    layer_names : tuple of str
        Prefixes of the layers that were recognised.
    layers : tuple of LayerReport
        Empty where the import needs more configuration.
    glue : tuple of str
        What stands between the layers, as "step: description".
    tensors, parameters, nbytes : int
        Counts over the source's tensors: how many, how many numbers, how many bytes.
    defaults_taken, notes : tuple of str
        As in `Network.source`.
    needed : tuple of str
        Keys of `config=` without which the model cannot be imported; `problem` says why.
    problem : str
    config_keys : mapping of str to str
        All keys that `config=` may hold for this family: what each is, and what happens when it is absent.
    """

    origin: str
    family: str
    in_features: int | None = None
    out_features: int | None = None
    layer_names: tuple[str, ...] = ()
    layers: tuple[LayerReport, ...] = ()
    glue: tuple[str, ...] = ()
    tensors: int = 0
    parameters: int = 0
    nbytes: int = 0
    defaults_taken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    problem: str = ""
    config_keys: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, strings and numbers."""
        return {key: _plain(value) for key, value in asdict(self).items()}


def inspect_source(source: object, family: str | None = None, config: Mapping[str, Any] | None = None) -> Inspection:
    """Report what a model is, and what its import needs.

    Parameters
    ----------
    source, family, config
        As for `import_model`.

    Returns
    -------
    Inspection
        When `config=` lacks a value that the import needs, `needed` names it and the rest is what could be seen.

    Raises
    ------
    ImportModelError
        The source is damaged, or nothing that lutkan knows.

    Examples
    --------
    >>> report = inspect_source(lambda X: X[:, :1] + X[:, 1:], "generic", {"in_features": 2, "domain": (-1, 1)})
    >>> report.family, report.layers[0].inputs, report.layers[0].degree, report.layers[0].domain
    ('generic', 2, 3, (-1.0, 1.0))
    >>> inspect_source(len, "generic").needed
    ('domain',)
    """
    try:
        network = import_model(source, family=family, config=config)
    except ConfigNeededError as error:
        network, problem, needed = None, str(error), (error.key,)
    else:
        problem, needed = "", ()
    checkpoint = _tensors(source)
    tensors: Mapping[str, NDArray[Any]] = {} if checkpoint is None else checkpoint.tensors
    seen = [] if family == GENERIC else find_layers(tensors, families_named(family))
    names = "+".join(sorted({found.name for _, found in seen})) if network is None else network.source.family
    return Inspection(
        origin=_origin(source),
        family=GENERIC if family == GENERIC else names,
        in_features=None if network is None else network.in_features,
        out_features=None if network is None else network.out_features,
        layer_names=tuple(path for path, _ in seen) if network is None else tuple(k.name for k in network.layers),
        layers=() if network is None else tuple(_layer(layer) for layer in network.layers),
        glue=() if network is None else _glue(network),
        tensors=len(tensors),
        parameters=sum(int(np.size(array)) for array in tensors.values()),
        nbytes=sum(int(np.asarray(array).nbytes) for array in tensors.values()),
        defaults_taken=() if network is None else network.source.defaults_taken,
        notes=() if network is None else network.source.notes,
        needed=needed,
        problem=problem,
        config_keys=_keys(GENERIC if family == GENERIC else names),
    )


def _tensors(source: object) -> Checkpoint | None:
    if is_live_module(source):
        return read_checkpoint(unwrap(source).state_dict())
    if isinstance(source, (str, Path)):
        prefix = saved_checkpoint_prefix(Path(source))
        return read_checkpoint(Path(source)) if prefix is None else read_torch_file(Path(f"{prefix}_state"))
    return read_checkpoint(source) if isinstance(source, Mapping) else None


def _origin(source: object) -> str:
    if isinstance(source, (str, Path)):
        return Path(source).name
    if isinstance(source, Mapping):
        return "state_dict"
    return getattr(source, "__name__", type(unwrap(source) if is_live_module(source) else source).__name__)


def _keys(family: str) -> dict[str, str]:
    keys: dict[str, str] = {}
    for name in family.split("+"):
        known = family_named(name)
        keys |= GENERIC_KEYS if name == GENERIC else {} if known is None else known.keys
    return keys


def _glue(network: Network) -> tuple[str, ...]:
    return tuple(f"{i}: {step.describe()}" for i, step in enumerate(network.steps) if not isinstance(step, KANLayer))


def _layer(layer: KANLayer) -> LayerReport:
    branches = tuple(
        f"{branch.bank.role}: {''.join(f'{step.describe()} then ' for step in branch.pre)}{branch.bank.describe()}"
        for branch in layer.branches
    )
    banks = (branch.bank for branch in layer.branches if branch.bank.role == "spline")
    basis = next((bank.basis for bank in banks if isinstance(bank, EdgeBank)), None)
    report = LayerReport(layer.name, *layer.shape, int(layer.live().sum()), branches)
    if basis is None:
        return report
    spline = isinstance(basis, BSpline)
    return replace(
        report,
        basis=basis.kind,
        degree=basis.degree if isinstance(basis, (BSpline, Polynomial)) else None,
        intervals=basis.intervals if spline else None,
        knots=_knots(basis) if spline else "",
        domain=_widest(basis.core()),
        support=_widest(basis.support()),
    )


def _knots(basis: BSpline) -> str:
    knots = basis.extended_knots
    steps = np.diff(knots, axis=1)
    degenerate = int((steps <= 0).any(axis=1).sum())
    whole = steps[(steps > 0).all(axis=1)]
    uneven = whole.size > 0 and bool((np.ptp(whole, axis=1) > 1e-5 * np.ptp(knots, axis=1).max()).any())
    shared = len(knots) == 1 or bool((knots == knots[0]).all())
    repeated = f", repeated knots at {degenerate} inputs" if degenerate else ""
    return f"{'non-uniform' if uneven else 'uniform'}, {'shared' if shared else 'per input'}{repeated}"


def _widest(interval: tuple[NDArray[Any], NDArray[Any]] | None) -> tuple[float, float] | None:
    return None if interval is None else (float(interval[0].min()), float(interval[1].max()))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
