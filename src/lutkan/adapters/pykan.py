"""pykan 0.2: `MultKAN` (`KAN` is an alias), from a state_dict, a live model, or the files of `saveckpt`.

For every layer `l`, with tensors `act_fun.l.*` of shape [in, out, ...] and `symbolic_fun.l.*` of shape [out, in, ...]:

`edge = mask * (scale_base * base_fun(x) + scale_sp * spline(x)) + symbolic_mask * (c * f(a * x + b) + d)`,

summed over the inputs into sub-nodes; then the sub-node affine, the multiplication nodes, and the node affine. The
first `n_sum` sub-nodes pass through; a multiplication node multiplies as many of the following ones as its arity says.

A whole `MultKAN` is one "layer" to the search for layers: its settings (`width`, `input_id`, ...) hold for the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.adapters.activations import activation_name
from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.family import Family
from lutkan.adapters.options import ConfigNeededError, LayerOptions
from lutkan.errors import ImportModelError
from lutkan.ir import (
    Affine,
    Branch,
    BSpline,
    EdgeBank,
    FunctionBank,
    KANLayer,
    NamedFunction,
    Product,
    Select,
    Step,
    without_identity,
)
from lutkan.numerics import functions

__all__ = ["PYKAN"]

F64 = NDArray[np.float64]

LAYER_TENSORS = ("grid", "coef", "mask", "scale_base", "scale_sp")


@dataclass(frozen=True)
class _Nodes:
    """The nodes behind one layer.

    Attributes
    ----------
    n_sum : int
        Nodes that only sum.
    arity : tuple of int
        How many sub-nodes each multiplication node multiplies.
    """

    n_sum: int
    arity: tuple[int, ...] = ()

    @property
    def subnodes(self) -> int:
        return self.n_sum + sum(self.arity)

    @property
    def nodes(self) -> int:
        return self.n_sum + len(self.arity)

    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Return the sub-nodes that each node multiplies."""
        groups: list[tuple[int, ...]] = [(i,) for i in range(self.n_sum)]
        start = self.n_sum
        for arity in self.arity:
            groups.append(tuple(range(start, start + arity)))
            start += arity
        return tuple(groups)


def _read(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    if options.options.n_layers != 1:
        raise ImportModelError(
            f"{options.options.n_layers} pykan models in one state_dict",
            "one: their settings and their order are not in it",
            "import the live module that holds them",
        )
    depth = _depth(tensors)
    n_in = tensors.take("act_fun.0.grid", None, None).shape[0]
    nodes = _nodes(tensors, options, depth)
    names = _function_names(options, depth)
    enabled = options.whole("symbolic_enabled")
    if enabled is not None and not isinstance(enabled, bool):
        raise ImportModelError(f"config['symbolic_enabled'] = {enabled!r}", "true or false")
    base = _base_functions(options, depth)

    steps: list[Step] = _selection(options, n_in)
    width = n_in
    for layer in range(depth):
        kan = _layer(tensors, options, layer, width, nodes[layer].subnodes, base[layer], names[layer], enabled)
        subnode = _affine(tensors, "subnode", layer, nodes[layer].subnodes)
        node = _affine(tensors, "node", layer, nodes[layer].nodes)
        product = [Product(nodes[layer].groups(), nodes[layer].subnodes)] if nodes[layer].arity else []
        steps += [kan, subnode, *product, node]
        width = nodes[layer].nodes
    return without_identity(steps)


def _depth(tensors: LayerTensors) -> int:
    parts = [name.split(".") for name in tensors.tensors if name.startswith("act_fun.")]
    numbers = {int(part[1]) for part in parts if part[1].isdecimal()}
    missing = sorted(set(range(max(numbers) + 1)) - numbers)
    if missing:
        raise ImportModelError(
            f"tensor {tensors.full_name(f'act_fun.{missing[0]}.coef')!r} is missing",
            f"all layers from 0 to {max(numbers)}",
            "check that the checkpoint is whole",
        )
    return max(numbers) + 1


def _layer(
    tensors: LayerTensors,
    options: LayerOptions,
    layer: int,
    n_in: int,
    n_out: int,
    base_function: str | None,
    names: Any,
    enabled: Any,
) -> KANLayer:
    prefix = f"act_fun.{layer}."
    if layer == 0 and np.ndim(tensors.tensors[prefix + "coef"]) != 3:
        raise ImportModelError(
            f"tensor {tensors.full_name(prefix + 'coef')!r} has {np.ndim(tensors.tensors[prefix + 'coef'])} axes",
            "[in, out, coefficients], as pykan 0.2 saves it",
            "this seems to come from pykan 0.0 or 0.1: rebuild the model in pykan 0.2.8",
        )
    coefficients = tensors.take(prefix + "coef", n_in, n_out, None)
    grid = tensors.take(prefix + "grid", n_in, None)
    mask, scale_base, scale_sp = (
        tensors.take(prefix + name, n_in, n_out) for name in ("mask", "scale_base", "scale_sp")
    )
    degree = grid.shape[1] - 1 - coefficients.shape[2]
    intervals = coefficients.shape[2] - degree
    if degree < 1 or intervals < 1:
        raise ImportModelError(
            f"tensor {tensors.full_name(prefix + 'grid')!r} has {grid.shape[1]} knots for "
            f"{coefficients.shape[2]} coefficients",
            "G + 2k + 1 knots for G + k coefficients with k >= 1 and G >= 1",
        )
    for key, actual in (("k", degree), ("grid", intervals)):
        said = options.whole(key)
        said = said[layer] if isinstance(said, (list, tuple)) and layer < len(said) else said
        if said is not None and said != actual:
            raise ImportModelError(
                f"{tensors.full_name(f'act_fun.{layer}')}: config says {key} = {said!r}, the tensors say {actual}",
                fix="use the configuration that belongs to this state",
            )

    spline = EdgeBank(BSpline(grid, degree), coefficients.transpose(0, 2, 1), mask * scale_sp, role="spline")
    branches = [Branch(spline)]
    base = mask * scale_base
    if base.any():
        if base_function is None:
            base_function = "silu"
            options.took_default("base_fun = 'silu' (pykan's default; not stored in a state_dict)")
        if base_function != "zero":  # a branch of zeros would only cost time
            branches.append(Branch(EdgeBank(NamedFunction(base_function), base[:, None, :], role="base")))
    symbolic = _symbolic(tensors, options, layer, n_in, n_out, names, enabled)
    if symbolic is not None:
        branches.append(Branch(symbolic))
    return KANLayer(tensors.full_name(f"act_fun.{layer}"), tuple(branches))


def _symbolic(
    tensors: LayerTensors, options: LayerOptions, layer: int, n_in: int, n_out: int, names: Any, enabled: Any
) -> FunctionBank | None:
    """Read the edges that are fixed to a function; pykan stores them as [out, in]."""
    prefix = f"symbolic_fun.{layer}."
    where = tensors.full_name(f"symbolic_fun.{layer}")
    if enabled is False:
        if np.any(tensors.tensors.get(prefix + "mask", 0.0)):
            options.note(f"{where}: its symbolic edges do not count, because symbolic_enabled is false")
        tensors.skip(prefix + "mask")
        tensors.skip(prefix + "affine")
        return None
    mask = tensors.take(prefix + "mask", n_out, n_in)
    affine = tensors.take(prefix + "affine", n_out, n_in, 4)
    if not mask.any():
        return None
    if enabled is None:
        options.took_default("symbolic_enabled = True (pykan's default; not stored in a state_dict)")
    if names is None:
        j, i = (int(v) for v in np.argwhere(mask)[0])
        raise ConfigNeededError(
            f"{where}: the edge from input {i} to output {j} is fixed to a symbolic function, "
            "and the names of the functions are not in a state_dict",
            fix="pass config={'funs_name': [layer][out][in] names}, or import the live model or pykan's own checkpoint",
            key="funs_name",
        )
    target, source = np.nonzero(mask)
    used = [
        _function_name(names, where, layer, int(j), int(i), mask.shape) for j, i in zip(target, source, strict=True)
    ]
    kinds = tuple(sorted(set(used)))
    edges = affine[target, source].copy()
    edges[:, 2:] *= mask[target, source][:, None]
    function = np.array([kinds.index(name) for name in used], dtype=np.int64)
    return FunctionBank(n_in, n_out, kinds, function, source.astype(np.int64), target.astype(np.int64), edges)


def _function_name(names: Any, where: str, layer: int, j: int, i: int, shape: tuple[int, ...]) -> str:
    if not _is_table(names, shape):
        raise ImportModelError(
            f"config['funs_name'][{layer}] is not a table of {shape[0]} rows of {shape[1]} names",
            f"names as [out][in], of the shape of {where}.mask",
            "pass the funs_name of the same model",
        )
    name = names[j][i]
    if not isinstance(name, str) or name not in functions.PYKAN_SYMBOLIC:
        raise ImportModelError(
            f"{where}: the edge from input {i} to output {j} is fixed to the unknown function {name!r}",
            ", ".join(functions.PYKAN_SYMBOLIC),
            "fix the edge to one of these in pykan, or import the model with family='generic' if it only adds up",
        )
    return name


def _is_table(names: Any, shape: tuple[int, ...]) -> bool:
    return (
        isinstance(names, (list, tuple))
        and len(names) == shape[0]
        and all(isinstance(row, (list, tuple)) and len(row) == shape[1] for row in names)
    )


def _affine(tensors: LayerTensors, kind: str, layer: int, size: int) -> Affine:
    scale = tensors.take(f"{kind}_scale_{layer}", size)
    bias = tensors.take(f"{kind}_bias_{layer}", size)
    return Affine(scale, bias, f"{kind} affine")


def _selection(options: LayerOptions, n_in: int) -> list[Step]:
    """Read `input_id`, the columns that the model looks at."""
    given = options.whole("input_id")
    raw = options.whole("n_raw_inputs")
    if raw is not None and (isinstance(raw, bool) or not isinstance(raw, (int, np.integer)) or raw < 1):
        raise ImportModelError(f"config['n_raw_inputs'] = {raw!r}", "the number of columns of X, a positive integer")
    if given is None:
        options.took_default(
            f"input_id = all {n_in} inputs in order (pykan saves it nowhere; if prune_input was used, pass "
            "config={'input_id': [...]})"
        )
        given = list(range(n_in))
    columns = np.asarray(given)
    if columns.ndim != 1 or columns.size != n_in or columns.dtype.kind not in "iu" or (columns < 0).any():
        raise ImportModelError(
            f"config['input_id'] = {given!r}", f"{n_in} column numbers, as many as act_fun.0 has inputs"
        )
    width = int(columns.max()) + 1 if raw is None else int(raw)
    if np.array_equal(columns, np.arange(width)):
        return []
    if raw is None:
        options.took_default(
            f"n_raw_inputs = {width} (the last column in input_id; pass config={{'n_raw_inputs': ...}} if X has more)"
        )
    return [Select(columns.astype(np.int64), width)]


def _base_functions(options: LayerOptions, depth: int) -> list[str | None]:
    given = options.whole("base_fun")
    values = list(given) if isinstance(given, (list, tuple)) else [given] * depth
    if len(values) != depth:
        raise ImportModelError(f"config['base_fun'] has {len(values)} entries", f"one name, or {depth}, one a layer")
    return [None if value is None else _base_name(value) for value in values]


def _base_name(value: Any) -> str:
    name = value.lower() if isinstance(value, str) else activation_name(value)
    if name is None or name not in functions.ACTIVATIONS:
        raise ImportModelError(
            f"base_fun {value!r}",
            ", ".join(functions.ACTIVATIONS),
            "pass config={'base_fun': ...} if it equals one of them",
        )
    return name


def _function_names(options: LayerOptions, depth: int) -> list[Any]:
    given = options.whole("funs_name")
    if given is None:
        return [None] * depth
    count = len(given) if isinstance(given, (list, tuple)) else 0
    if count != depth:
        raise ImportModelError(f"config['funs_name'] has {count} tables", f"a list of {depth} tables, one a layer")
    return list(given)


def _nodes(tensors: LayerTensors, options: LayerOptions, depth: int) -> list[_Nodes]:
    """Find the multiplication nodes, from `width` and `mult_arity` as far as given, checked with the shapes."""
    width = _width(options, depth)
    arity = options.whole("mult_arity")
    if isinstance(arity, (list, tuple)) and len(arity) != depth + 1:
        raise ImportModelError(
            f"config['mult_arity'] has {len(arity)} entries", f"a number, or a list of {depth + 1} lists, one a level"
        )
    result = []
    for layer in range(depth):
        nodes = tensors.take(f"node_bias_{layer}", None).size
        subnodes = tensors.take(f"subnode_bias_{layer}", None).size
        here = arity[layer + 1] if isinstance(arity, (list, tuple)) else arity
        n_mult = None if width is None else width[layer + 1][1]
        arities = _arities(tensors, layer, nodes, subnodes, n_mult, here)
        found = _Nodes(max(0, nodes - len(arities)), arities)
        if width is not None and width[layer + 1] != (found.n_sum, len(arities)):
            raise ImportModelError(
                f"config['width'][{layer + 1}] = {list(width[layer + 1])}, but tensor "
                f"{tensors.full_name(f'node_bias_{layer}')!r} has {nodes} nodes",
                "the width of the same model",
            )
        if found.subnodes != subnodes:
            raise ImportModelError(
                f"tensor {tensors.full_name(f'subnode_bias_{layer}')!r} has {subnodes} sub-nodes, width and mult_arity "
                f"give {found.n_sum} + {list(arities)}",
                f"{found.subnodes} sub-nodes",
                "pass width and mult_arity of the same model",
            )
        result.append(found)
    n_in = tensors.take("act_fun.0.grid", None, None).shape[0]
    if width is not None and sum(width[0]) != n_in:
        raise ImportModelError(
            f"config['width'][0] = {list(width[0])}, but act_fun.0 has {n_in} inputs",
            "the width of the same model",
        )
    return result


def _width(options: LayerOptions, depth: int) -> list[tuple[int, int]] | None:
    given = options.whole("width")
    if given is None:
        return None
    allowed = f"{depth + 1} entries, each n or [n_sum, n_mult]"
    if not isinstance(given, (list, tuple)) or len(given) != depth + 1:
        raise ImportModelError(f"config['width'] does not fit a checkpoint of {depth} layers", allowed)
    result = []
    for level, entry in enumerate(given):
        pair = list(entry) if isinstance(entry, (list, tuple)) else [entry, 0]
        if len(pair) != 2 or not all(_is_count(v) for v in pair) or sum(pair) == 0:
            raise ImportModelError(f"config['width'][{level}] is neither a number nor a pair of numbers", allowed)
        result.append((int(pair[0]), int(pair[1])))
    return result


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 0


def _arities(
    tensors: LayerTensors, layer: int, nodes: int, subnodes: int, n_mult: int | None, given: Any
) -> tuple[int, ...]:
    """Return the arity of every multiplication node behind a layer.

    With `n_sum + n_mult` nodes and `n_sum + sum(arity)` sub-nodes, and no arity below 2, the shapes alone decide that
    there is no such node (as many sub-nodes as nodes), and, with `n_mult` known, that all arities are 2 or which one a
    single node has. All else has to be given.
    """
    where = tensors.full_name(f"act_fun.{layer}")
    extra = subnodes - nodes
    listed = isinstance(given, (list, tuple))
    if extra == 0 and not n_mult and not (listed and len(given) > 0):
        return ()
    if listed:
        if not all(_is_count(v) and v >= 2 for v in given):
            raise ImportModelError(f"config['mult_arity'][{layer + 1}] = {list(given)!r}", "numbers from 2 on")
        if n_mult is not None and len(given) != n_mult:
            raise ImportModelError(
                f"config['mult_arity'][{layer + 1}] has {len(given)} entries, width says {n_mult} multiplication nodes",
                "as many",
            )
        return tuple(int(v) for v in given)
    if given is not None:
        if not _is_count(given) or given < 2:
            raise ImportModelError(f"config['mult_arity'] = {given!r}", "a number from 2 on, or a list of lists")
        if n_mult is None:
            n_mult, left = divmod(extra, given - 1)
            if left or extra < 0:
                raise ImportModelError(
                    f"{where}: {nodes} nodes and {subnodes} sub-nodes do not fit mult_arity = {given}",
                    fix="pass width and mult_arity of the same model",
                )
        return (int(given),) * n_mult
    if n_mult is not None and n_mult > 0 and extra == n_mult:
        return (2,) * n_mult
    if n_mult == 1 and extra > 0:
        return (extra + 1,)
    raise ConfigNeededError(
        f"{where}: {subnodes} sub-nodes feed {nodes} nodes, so there are multiplication nodes, and which they are is "
        "not in a state_dict",
        fix="pass config={'width': [[n_sum, n_mult], ...], 'mult_arity': ...}",
        key="width" if n_mult is None else "mult_arity",
    )


_MULTKAN = ("mult_arity", "width", "act_fun", "input_id", "symbolic_fun", "symbolic_enabled")


def _attributes(module: Any) -> dict[str, Any]:
    """Read from a live MultKAN what its state_dict lacks; nothing from a module that only has its tensors' names."""
    if not all(hasattr(module, name) for name in _MULTKAN):
        return {}
    arity = module.mult_arity
    listed = [[int(v) for v in level] for level in arity] if isinstance(arity, (list, tuple)) else int(arity)
    return {
        "width": [
            [int(v) for v in entry] if isinstance(entry, (list, tuple)) else int(entry) for entry in module.width
        ],
        "mult_arity": listed,
        "base_fun": [_live_base_name(layer.base_fun) for layer in module.act_fun],
        "input_id": [int(v) for v in module.input_id],
        "funs_name": [[list(row) for row in layer.funs_name] for layer in module.symbolic_fun],
        "symbolic_enabled": bool(module.symbolic_enabled),
    }


def _live_base_name(function: Any) -> str:
    """Name a base function, a lambda too: pykan's own 'zero' is one, and its name is lost by prune_input."""
    name = activation_name(function)
    if name is not None:
        return name
    import torch

    points = torch.linspace(-9.0, 9.0, 145, dtype=torch.float64)
    with torch.no_grad():
        values = np.asarray(function(points), dtype=np.float64)
    for candidate in functions.ACTIVATIONS:
        if np.allclose(values, functions.apply(candidate, points.numpy()), rtol=1e-9, atol=1e-9):
            return candidate
    raise ImportModelError(
        f"base_fun {function!r}",
        ", ".join(functions.ACTIVATIONS),
        "pass config={'base_fun': ...} if it equals one of them, or use family='generic'",
    )


PYKAN = Family(
    name="pykan",
    anchor="act_fun.0.coef",
    claims=lambda names: {f"act_fun.0.{name}" for name in LAYER_TENSORS} <= names,
    read_layer=_read,
    keys={
        "width": "nodes of every level, n or [n_sum, n_mult]; taken from the shapes, refused when there are "
        "multiplication nodes and the shapes leave several possibilities",
        "mult_arity": "arity of the multiplication nodes, a number or a list of lists; taken from the shapes, refused "
        "when there are multiplication nodes and the shapes leave several possibilities",
        "base_fun": "base function, a name or one a layer; 'silu' is taken",
        "input_id": "columns of X that the model reads; all in order are taken",
        "funs_name": "names of the symbolic functions, [layer][out][in]; refused when a symbolic mask is not zero",
        "symbolic_enabled": "whether the symbolic edges count; true is taken where it matters",
        "n_raw_inputs": "number of columns of X; up to the last one of input_id is taken",
        "grid": "number of intervals, a number or one a layer; cross-checked with the shapes",
        "k": "degree of the splines, a number or one a layer; cross-checked with the shapes",
    },
    attributes=_attributes,
)
