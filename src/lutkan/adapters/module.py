"""Live torch modules: find the KAN layers and the ordinary layers among the submodules, and check the result.

What a module's own `forward` does between its submodules cannot be read. So the forward pass is run once, in
evaluation mode, on seeded rows: it shows in which order the submodules are called, and what the imported network has
to answer. A network that answers anything else is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.adapters.checkpoint import LayerTensors, read_checkpoint
from lutkan.adapters.family import Family
from lutkan.adapters.live import Call, ModuleRun, ModuleRunner, unwrap
from lutkan.adapters.options import Options
from lutkan.adapters.state_dict import find_layers, input_width, refuse_unread
from lutkan.adapters.unsupported import refuse_unsupported
from lutkan.errors import ImportModelError
from lutkan.ir import Activation, Affine, KANLayer, LayerNorm, Linear, Network, Select, Source, Step
from lutkan.numerics import functions

__all__ = ["ModuleImport", "import_module", "network_from_module"]

F64 = NDArray[np.float64]

ROWS = 64
#: Allowed deviation relative to 1 + |y|, by the dtype that the module computes in.
TOLERANCE = {"float64": 1e-8, "float32": 1e-5}
#: Up to here a miss in float64 is put down to constants that the module makes in float32, and noted.
PARTLY_FLOAT32 = 1e-6


@dataclass(frozen=True, eq=False)
class _Site:
    """A submodule that does something.

    Attributes
    ----------
    path : str
    module : torch.nn.Module
    family : Family or None
        Of a KAN layer.
    plain : tuple of Step or None
        The steps of an ordinary layer, or of one that tells them itself. None with `family` None: a module that is not
        known and has parameters.
    """

    path: str
    module: Any
    family: Family | None = None
    plain: tuple[Step, ...] | None = None

    @property
    def label(self) -> str:
        return f"module {self.path or '(root)'!r} ({type(self.module).__name__})"

    @property
    def source(self) -> str:
        """The family of a KAN layer, or empty."""
        if self.family is not None:
            return self.family.name
        holds = self.plain is not None and any(isinstance(step, KANLayer) for step in self.plain)
        return str(getattr(self.module, "family", "lutkan")) if holds else ""


@dataclass(frozen=True, eq=False)
class ModuleImport:
    """An imported live module, and what its submodules became.

    Attributes
    ----------
    network : Network
    steps : mapping of str to tuple of Step
        The steps of each submodule with a KAN layer, by path: the very objects in `network.steps`.
    modules : mapping of str to torch.nn.Module
        These submodules.
    """

    network: Network
    steps: Mapping[str, tuple[Step, ...]]
    modules: Mapping[str, Any]


def network_from_module(module: Any, families: Sequence[Family], config: Mapping[str, Any] | None) -> Network:
    """Import a live module, and check the network against it.

    Parameters
    ----------
    module : torch.nn.Module
        Unchanged afterwards. `torch.compile` and `DataParallel` wrappers are looked through.
    families : sequence of Family
        What to look for.
    config : mapping or None
        What the module's attributes do not tell, as for `import_model`; layers count in the order of registration.

    Raises
    ------
    ImportModelError
        No KAN layer is found, a submodule with parameters is not known, or the network that the submodules make
        answers differently from the module itself.
    """
    return import_module(module, families, config).network


def import_module(module: Any, families: Sequence[Family], config: Mapping[str, Any] | None) -> ModuleImport:
    """Import a live module as `network_from_module` does, and say which submodule became which steps.

    A submodule with a method `lutkan_steps` tells its steps itself (`lutkan.train`'s layers do).
    """
    import torch

    module = unwrap(module)
    if isinstance(module, torch.jit.ScriptModule):
        raise ImportModelError(
            f"a TorchScript module ({type(module).__name__})",
            "an ordinary torch module",
            "pass the module that was scripted or traced, or its state_dict()",
        )
    checkpoint = read_checkpoint(module.state_dict())
    refuse_unsupported(checkpoint.tensors)
    sites, suspects = _sites(module, families)
    layers = [site for site in sites if site.source]
    if not layers:
        known = ", ".join(sorted({family.name for family in families}))
        raise ImportModelError(
            f"{type(module).__name__}: no KAN layer is recognised among its submodules",
            f"layers of {known}",
            "use family='generic' if its outputs are sums of functions of the single inputs",
        )
    steps, defaults, notes = _steps(sites, config)
    steps = {site.path: site.plain or () for site in sites if site.family is None} | steps
    rows, run = _run_on_probe_rows(module, sites, steps)
    by_path = {site.path: site for site in sites}
    called = [call.path for call in run.calls]
    for path in called:
        if by_path[path].family is None and by_path[path].plain is None:
            raise _unknown(by_path[path])

    registered = [site.path for site in sites if site.family is not None or site.plain is not None]
    name = "+".join(sorted({site.source for site in layers}))
    tried: list[tuple[float, str]] = []
    # A layer of which forward calls a method, not the layer itself, is not seen: the order of registration may hold.
    for order in [called, registered] if called and called != registered else [registered]:
        try:
            network = Network(tuple(step for path in order for step in steps[path]), rows.shape[1], Source(name))
        except ImportModelError as error:
            tried.append((np.inf, error.found))
            continue
        deviation = _deviation(network.evaluate(rows), run.y)
        if deviation <= _tolerance(run) or (run.dtype == "float64" and deviation <= PARTLY_FLOAT32):
            notes += _how_it_was_checked(order, registered, by_path, run, deviation)
            network = replace(network, source=Source(name, checkpoint.sha256, tuple(defaults), tuple(notes)))
            mine = {site.path: site.module for site in layers if site.path in order}
            return ModuleImport(network, {path: steps[path] for path in mine}, mine)
        tried.append((deviation, ""))
    raise _mismatch(module, by_path, steps, run, rows, min(tried), suspects)


def _tolerance(run: ModuleRun) -> float:
    return TOLERANCE.get(run.dtype, 100 * run.eps)


def _how_it_was_checked(
    order: Sequence[str], registered: Sequence[str], sites: Mapping[str, _Site], run: ModuleRun, deviation: float
) -> list[str]:
    notes = [f"{sites[path].label} is not called by forward and left out" for path in registered if path not in order]
    if [path for path in registered if path in order] != list(order):
        notes.append("the steps follow the calls that forward makes, which are not in the order of registration")
    if deviation > _tolerance(run):
        notes.append("the module computes in float32 in parts, even when it is cast to float64")
    notes.append(
        f"checked against the module itself on {ROWS} rows ({run.dtype}): largest deviation {deviation:.1e} relative "
        "to 1 + |y|"
    )
    return notes


def _run_on_probe_rows(
    module: Any, sites: Sequence[_Site], steps: Mapping[str, tuple[Step, ...]]
) -> tuple[F64, ModuleRun]:
    """Run the module on rows as wide as its first submodule takes, or the next one if that is not called first."""
    paths = [site.path for site in sites]
    starts: dict[int, F64] = {}
    for path in paths:
        if any(not isinstance(step, Activation) for step in steps[path]):
            width = input_width(steps[path])
            starts.setdefault(width, _probe_rows(steps[path], width))
    runner = ModuleRunner(module)
    failed = ImportModelError(f"{type(module).__name__}: no submodule states a width", "a KAN layer or a Linear")
    for attempt, rows in enumerate(starts.values()):
        try:
            return rows, runner.run(rows, paths)
        except ImportModelError as error:
            failed = error if attempt == 0 else failed
    raise failed


def _sites(root: Any, families: Sequence[Family]) -> tuple[list[_Site], list[str]]:
    """Return the submodules that do something, and what else may matter to the forward pass."""
    suspects: list[str] = []
    seen: set[int] = set()

    def walk(module: Any, path: str) -> Iterator[_Site]:
        if id(module) in seen:
            return
        seen.add(id(module))
        inner = unwrap(module)
        if inner is not module:
            for name, child in module.named_modules():
                if child is inner:
                    yield from walk(inner, f"{path}.{name}".lstrip("."))
            return
        tells = getattr(module, "lutkan_steps", None)
        if tells is not None:
            yield _Site(path, module, plain=tuple(tells()))
            return
        names = read_checkpoint(module.state_dict()).tensors
        family = dict(find_layers(names, families)).get("")
        if family is not None:
            yield _Site(path, module, family=family)
            return
        plain = _plain_steps(module, path)
        if plain is not None:
            if plain:
                yield _Site(path, module, plain=plain)
            return
        children = list(module.named_children())
        own = [name for name, _ in module.named_parameters(recurse=False)]
        if own and not children:
            yield _Site(path, module)
            return
        what = f"module {path or '(root)'!r} ({type(module).__name__})"
        if own:
            suspects.append(f"parameter {own[0]!r} of {what}")
        elif not children:
            suspects.append(what)
        for name, child in children:
            yield from walk(child, f"{path}.{name}".lstrip("."))

    return list(walk(root, "")), suspects


def _plain_steps(module: Any, path: str) -> tuple[Step, ...] | None:
    """Turn an ordinary torch layer into steps, () when it does nothing in evaluation, None when it is not known."""
    from torch import nn

    if isinstance(module, (nn.Identity, nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Flatten)):
        return ()
    if isinstance(module, nn.Linear):
        bias = None if module.bias is None else _numbers(module.bias)
        return (Linear(_numbers(module.weight).T, bias, name=path or "linear"),)
    if isinstance(module, nn.BatchNorm1d):
        if module.running_mean is None or module.running_var is None:
            raise ImportModelError(
                f"module {path!r} (BatchNorm1d) has no running statistics, so a row's answer depends on its batch",
                "track_running_stats=True",
                "train it with running statistics",
            )
        scale = 1.0 / np.sqrt(_numbers(module.running_var) + module.eps)
        bias = -_numbers(module.running_mean) * scale
        if module.affine:
            weight = _numbers(module.weight)
            scale, bias = scale * weight, bias * weight + _numbers(module.bias)
        return (Affine(scale, bias, origin="BatchNorm1d"),)
    if isinstance(module, nn.LayerNorm):
        if len(module.normalized_shape) != 1:
            return None
        weight, bias = (None if t is None else _numbers(t) for t in (module.weight, module.bias))
        return (LayerNorm(module.normalized_shape[0], module.eps, weight, bias),)
    if isinstance(module, nn.PReLU):
        return (Activation("prelu", _numbers(module.weight)),)
    if isinstance(module, nn.LeakyReLU):
        return (Activation("prelu", np.array([module.negative_slope])),)
    name = _activation(module, nn)
    return None if name is None else (Activation(name),)


def _activation(module: Any, nn: Any) -> str | None:
    if isinstance(module, nn.GELU):
        return "gelu" if module.approximate == "none" else "gelu_tanh"
    if isinstance(module, nn.Softplus):
        return "softplus" if (module.beta, module.threshold) == (1, 20) else None
    if isinstance(module, nn.ELU):
        return "elu" if module.alpha == 1.0 else None
    table = {nn.SiLU: "silu", nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.Mish: "mish"}
    return next((name for kind, name in table.items() if type(module) is kind), None)


def _numbers(tensor: Any) -> F64:
    return tensor.detach().cpu().double().numpy()


def _steps(
    sites: Sequence[_Site], config: Mapping[str, Any] | None
) -> tuple[dict[str, tuple[Step, ...]], list[str], list[str]]:
    """Read the KAN layers: their steps by path, the defaults taken, the notes."""
    config = dict(config or {})
    layers = [site for site in sites if site.family is not None]
    families = {site.family.name: site.family for site in layers if site.family is not None}
    unknown = [key for key in config if key != "layers" and not any(key in f.keys for f in families.values())]
    if unknown:
        known = sorted({"layers", *(key for family in families.values() for key in family.keys)})
        raise ImportModelError(
            f"config has the unknown key {unknown[0]!r}", f"{', '.join(known)} for {', '.join(sorted(families))}"
        )
    entries = config.pop("layers", None)
    if entries is not None and (not isinstance(entries, list) or len(entries) != len(layers)):
        raise ImportModelError("config['layers']", f"a list of {len(layers)} mappings, one a KAN layer")

    steps: dict[str, tuple[Step, ...]] = {}
    defaults: list[str] = []
    notes: list[str] = []
    for family in families.values():
        mine = [index for index, site in enumerate(layers) if site.family is family]
        top = {key: value for key, value in config.items() if key in family.keys}
        merged = [
            _attributes(family, layers[index].module, top, {} if entries is None else entries[index]) for index in mine
        ]
        # A family of whole models (pykan) has one entry a model, and reads its settings alone.
        options = Options({**top, "layers": merged}, family.name, family.keys, family.layer_keys, len(mine))
        for position, index in enumerate(mine):
            site = layers[index]
            tensors = LayerTensors(site.path, read_checkpoint(site.module.state_dict()).tensors)
            steps[site.path] = family.read_layer(tensors, options.layer(position))
            refuse_unread(tensors.unread(), family.name)
        defaults += options.defaults_taken
        notes += options.notes
    return steps, defaults, notes


def _attributes(family: Family, module: Any, top: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of one layer: what the caller says, then what the module's attributes say."""
    try:
        found = family.attributes(module)
    except ImportModelError:
        if not top and not entry:
            raise
        found = {}  # the caller says it instead, and the comparison with the module is the judge
    return {key: value for key, value in found.items() if key not in top} | dict(entry)


def _probe_rows(steps: Sequence[Step], in_features: int) -> F64:
    """Return seeded rows that span the core domain of the first layer, half of them a quarter beyond it."""
    rng = np.random.default_rng(20240519)
    low, high = np.full(in_features, -1.5), np.full(in_features, 1.5)
    columns: Any = slice(None)
    for step in steps:
        if isinstance(step, Select):
            columns = step.indices
            continue
        core = step.core() if isinstance(step, KANLayer) else None
        if core is not None:
            wide = np.broadcast_to(core[1] > core[0], low[columns].shape)
            low[columns] = np.where(wide, core[0], core[0] - 1.0)
            high[columns] = np.where(wide, core[1], core[1] + 1.0)
        break
    reach = np.where(np.arange(ROWS)[:, None] < ROWS // 2, 0.5, 0.75)
    rows = (low + high) / 2 + rng.uniform(-1.0, 1.0, (ROWS, in_features)) * reach * (high - low)
    return rows.astype(np.float32).astype(np.float64)


def _deviation(got: F64, wanted: F64) -> float:
    """Return the largest deviation relative to 1 + |wanted|; infinite where only one of the two is finite."""
    if got.shape != wanted.shape:
        return np.inf
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    with np.errstate(invalid="ignore", over="ignore"):
        relative = np.where(same, 0.0, np.abs(got - wanted) / (1.0 + np.abs(wanted)))
    return float(np.where(np.isnan(relative), np.inf, relative).max(initial=0.0))


def _unknown(site: _Site) -> ImportModelError:
    return ImportModelError(
        f"{site.label} has parameters and is none of the layers that lutkan knows",
        "KAN layers, Linear, BatchNorm1d, LayerNorm, SiLU, GELU, ReLU, Tanh, Sigmoid, PReLU, LeakyReLU, Dropout",
        "replace it, or use family='generic' if the whole is a sum of functions of the single inputs",
    )


def _mismatch(
    module: Any,
    sites: Mapping[str, _Site],
    steps: Mapping[str, tuple[Step, ...]],
    run: ModuleRun,
    rows: F64,
    worst: tuple[float, str],
    suspects: Sequence[str],
) -> ImportModelError:
    deviation, misfit = worst
    size = "in shape or by a value that is not finite" if np.isinf(deviation) else f"by {deviation:.3g}"
    reason = _located(sites, steps, run, rows) or misfit
    if not reason and suspects:
        reason = f"{suspects[0]} may take part, and is not imported"
    if not reason:
        reason = "its forward does more than call its submodules one after another"
    return ImportModelError(
        f"{type(module).__name__}: the network made of its submodules differs from the module itself {size} relative "
        f"to 1 + |y| on {len(rows)} rows ({run.dtype}): {reason}",
        f"at most {_tolerance(run):g}: submodules called one after another, activations among them",
        "write what forward does as submodules (nn.ReLU() instead of F.relu) and leave out softmax and skip "
        "connections; or use family='generic' if the whole is a sum of functions of the single inputs",
    )


def _located(sites: Mapping[str, _Site], steps: Mapping[str, tuple[Step, ...]], run: ModuleRun, rows: F64) -> str:
    """Say where the flow of the values leaves the chain of the submodules, or ''."""
    before, value = "the input", rows
    earlier = [("the input", rows)]
    for call in (*run.calls, Call("", run.y, None)):
        label = sites[call.path].label if call.given is not None or call.path else "the output"
        if call.taken is None or _deviation(call.taken.reshape(len(call.taken), -1), value) > 1e-5:
            return f"between {before} and {label} there is {_guess(value, call.taken, earlier)}"
        if call.given is None:
            break
        wanted = call.taken.reshape(len(call.taken), -1)
        for step in steps[call.path]:
            wanted = step.evaluate(wanted)
        if _deviation(wanted, call.given.reshape(len(call.given), -1)) > 1e-5:
            return f"{label} computes something else than its tensors and attributes say"
        before, value = label, call.given.reshape(len(call.given), -1)
        earlier.append((f"what {label} returns", value))
    return ""


def _guess(value: F64, taken: F64 | None, earlier: Sequence[tuple[str, F64]]) -> str:
    """Name what turns `value` into `taken`."""
    if taken is None:
        return "something that is not a tensor"
    taken = taken.reshape(len(taken), -1)
    if taken.shape != value.shape:
        return f"a change of shape from {value.shape[1]} to {taken.shape[1]} features"
    for name in functions.ACTIVATIONS:
        if _deviation(functions.apply(name, value), taken) < 1e-5:
            return f"a {name} that is no submodule"
    shifted = value - value.max(axis=1, keepdims=True)
    logarithm = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    for name, candidate in (("softmax", np.exp(logarithm)), ("log_softmax", logarithm)):
        if _deviation(candidate, taken) < 1e-5:
            return f"a {name}"
    for what, other in earlier:
        if other.shape == taken.shape and _deviation(value + other, taken) < 1e-5:
            return f"a skip connection that adds {what}"
        if other.shape == taken.shape and _deviation(other, taken) < 1e-5:
            return f"a branch: it takes {what} instead"
    return "an operation that is no submodule"
