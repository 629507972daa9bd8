"""Quantization compared: methods of training and of post-training, bits and families, scored as integer artifacts.

Every cell trains (once, kept in a folder) or loads a float network, quantizes it, compiles the integers, and lets the
artifact answer the test rows. The same float network serves all methods of a seed, so that drops are paired.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.errors import InputError
from lutkan.ir import Network
from lutkan.lab.experiment import Run, run_experiment
from lutkan.lab.nets import Drawn
from lutkan.lab.trained import FAMILIES, Recipe, Split, digits_split, feature_share, import_trained, train_network
from lutkan.runtimes import load
from lutkan.tables import BranchSpec, CodeSpec
from lutkan.train.ptq import METHODS as PTQ_METHODS
from lutkan.train.ptq import quantize_network
from lutkan.train.sensitivity import search_bits, sensitivity

__all__ = ["DATA", "DECISIONS", "PTQ", "QAT", "ROWS", "QuantCell", "Scale", "cells", "measure", "run_quant"]

#: Weight and input bits.
ROWS = ("w8a8", "w4a4", "w3a3", "w2a8", "w2a2")
#: Where integers are compared with fake quantization, by the default method.
DECISIONS = ("w8a8", "w4a8")
QAT = ("lsq", "lsq+", "pact", "dorefa", "qil", "dsq")
PTQ = tuple(PTQ_METHODS)
DATA = ("digits", "mnist")
_WIDTHS = {"digits": (64, 64, 10), "mnist": (784, 64, 10)}
# The part of the table that the larger data set repeats: two methods of training, three of post-training.
_MNIST = {"families": ("efficient-kan", "fast-kan"), "rows": ("w4a4", "w2a8", "w2a2")}
_MNIST_METHODS = {"ptq": ("quantkan-uniform", "quantkan-gptq", "gptq", "adaround", "auto"), "qat": ("dsq", "lsq+")}


# Widths of a first layer that is timed.
_OUTPUTS = (16, 32, 48, 64)


@dataclass(frozen=True)
class Scale:
    """How long networks are trained.

    Attributes
    ----------
    float_epochs : int
    qat_epochs : int
        Of quantization-aware training with inputs of 2 or 3 bits.
    wide_epochs : int
        The same with more, where there is little to make good.
    batch : int
        Of all.
    """

    float_epochs: int
    qat_epochs: int
    wide_epochs: int
    batch: int


#: By data set; "quick" is for a look at whether all works.
SCALES = {
    "digits": Scale(40, 20, 6, 64),
    "mnist": Scale(3, 1, 1, 128),
    "quick": Scale(6, 2, 1, 128),
}


@dataclass(frozen=True)
class QuantCell:
    """One network quantized by one method.

    Attributes
    ----------
    data, family : str
    seed : int
    row : str
        "w4a8" and the like; otherwise as `kind`.
    kind : {"float", "ptq", "qat", "sensitivity", "mixed", "speed"}
        The network as it was trained; one method; each part of the network quantized alone; bits spread over layers
        and branches at the bytes of flat 3 bits; times.
    method : str
    """

    data: str
    family: str
    seed: int
    row: str
    kind: str
    method: str


def cells(
    data: str,
    families: Sequence[str] | None = None,
    seeds: Iterable[int] | None = None,
    rows: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
) -> list[QuantCell]:
    """Return the cells of a data set, seed by seed and family by family.

    Parameters
    ----------
    data : {"digits", "mnist"}
    families, seeds, rows, methods : optional
        Parts of the table; by default all that belongs to the data set.

    Raises
    ------
    InputError
        An unknown name.

    Examples
    --------
    >>> len(cells("digits", ("gram",), (0,), ("w4a4",), ("auto", "dsq")))
    5
    """
    if data not in DATA:
        raise InputError(f"data {data!r}", ", ".join(DATA))
    small = data == "mnist"
    families = families or (_MNIST["families"] if small else FAMILIES)
    compared = DECISIONS if rows is None and (methods is None or "auto" in methods) else ()
    rows = rows or (_MNIST["rows"] if small else ROWS)
    numbers = list(seeds) if seeds is not None else ([0] if small else [0, 1, 2, 3, 4])
    known = {"family": FAMILIES, "row": (*ROWS, *DECISIONS), "method": (*PTQ, *QAT)}
    for what, names in (("family", families), ("row", rows), ("method", methods or ())):
        for name in names:
            if name not in known[what]:
                raise InputError(f"{what} {name!r}", ", ".join(known[what]))
    ptq = [m for m in (_MNIST_METHODS["ptq"] if small else PTQ) if methods is None or m in methods]
    qat = [m for m in (_MNIST_METHODS["qat"] if small else QAT) if methods is None or m in methods]
    if methods is not None and small:
        ptq, qat = [m for m in PTQ if m in methods], [m for m in QAT if m in methods]
    found = []
    for seed in numbers:
        for family in families:
            found.append(QuantCell(data, family, seed, "float", "float", "float"))
            found += [QuantCell(data, family, seed, row, "ptq", method) for row in rows for method in ptq]
            found += [QuantCell(data, family, seed, row, "qat", method) for row in rows for method in qat]
            found += [QuantCell(data, family, seed, row, "ptq", "auto") for row in compared if row not in rows]
    if not small:
        kinds = (("sensitivity", "quantkan-uniform"), ("mixed", "auto"))
        found += [
            QuantCell(data, family, seed, kind, kind, method)
            for kind, method in kinds
            if methods is None or method in methods
            for seed in numbers
            for family in families
        ]
    found += [QuantCell(data, family, numbers[0], "speed", "speed", "auto") for family in families]
    return found


def run_quant(
    output: Path,
    wanted: Sequence[QuantCell],
    *,
    quick: bool = False,
    workers: int = 1,
    ray: bool = False,
    again: bool = False,
    folder: Path | None = None,
    on_cell: Callable[[int], None] | None = None,
) -> Run:
    """Measure the cells that a result file lacks.

    Parameters
    ----------
    output : Path
    wanted : sequence of QuantCell
    quick : bool
        Train for a moment only.
    workers, ray, again, on_cell
        As in `lutkan.lab.experiment.run_experiment`.
    folder : Path, optional
        Where trained networks are kept; by default `quant` in the data folder.
    """
    scales = {name: SCALES[name] for name in (("quick",) if quick else DATA)}
    place = folder or data_folder() / ("quant-quick" if quick else "quant")
    parameters = {
        data: {
            "float epochs": s.float_epochs,
            "QAT epochs": s.qat_epochs,
            "QAT epochs from 4-bit inputs on": s.wide_epochs,
            "batch": s.batch,
        }
        for data, s in scales.items()
    }
    return run_experiment(
        "quant",
        wanted,
        functools.partial(measure, folder=str(place), quick=quick),
        output,
        parameters=parameters,
        seeds=sorted({cell.seed for cell in wanted}),
        workers=workers,
        ray=ray,
        again=again,
        on_cell=on_cell,
    )


def data_folder() -> Path:
    """Return the folder of data sets and trained networks: `LUTKAN_DATA`, or `~/.cache/lutkan-data`."""
    return Path(os.environ.get("LUTKAN_DATA") or Path.home() / ".cache" / "lutkan-data")


# --- one cell


def measure(cell: QuantCell, *, folder: str, quick: bool = False) -> dict[str, Any]:
    """Measure one cell.

    Parameters
    ----------
    cell : QuantCell
    folder : str
        Where trained networks are kept.
    quick : bool

    Returns
    -------
    dict
        `accuracy`, and for quantized networks `drop` (points below the float network), `fake_accuracy` (the same
        weights and grids with features and sums in floating point), `decision_difference` (share of test rows whose
        decision differs between the two), bytes, and the processor seconds that quantizing took.
    """
    scale = SCALES["quick" if quick else cell.data]
    split = _split(cell.data)
    net, state, seconds = _float_network(cell.data, cell.family, cell.seed, folder, scale)
    exact = _accuracy(_chunked(net.evaluate, split.X_test), split)
    checkpoint = sum(array.nbytes for name, array in state.items() if "symbolic" not in name and "node_" not in name)
    if cell.kind == "float":
        return {"accuracy": exact, "checkpoint_bytes": checkpoint, "seconds": seconds}
    if cell.kind == "sensitivity":
        found = sensitivity(net, split.X_test, split.y_test, calibration=split.X_train)
        return found.to_json()
    if cell.kind == "mixed":
        return _mixed(cell, net, split)
    if cell.kind == "speed":
        return _speed(cell, net, state, split, checkpoint)
    own = _quantized_after_training if cell.kind == "ptq" else _trained_quantized
    artifact, fake, more = own(cell, net, split, scale)
    answer = np.asarray(load(artifact).predict(split.X_test), dtype=np.float64)
    accuracy = _accuracy(answer, split)
    return {
        "accuracy": accuracy,
        "drop": exact - accuracy,
        "fake_accuracy": _accuracy(fake, split),
        "decision_difference": float(np.mean(answer.argmax(axis=1) != fake.argmax(axis=1))),
        "output_error": float(np.sqrt(np.mean((answer - fake) ** 2)) / max(float(fake.std()), 1e-30)),
        "file_bytes": artifact.nbytes,
        "table_bytes": artifact.table_nbytes,
        "checkpoint_bytes": checkpoint,
        **more,
    }


def row_spec(row: str, method: str) -> CodeSpec:
    """Return the spec of a row; the preset keeps edge scales apart, as QuantKAN does."""
    weights = BranchSpec(bits=int(row[1]))
    apart = weights if method == "quantkan-uniform" else None
    return CodeSpec(input_bits=int(row[3]), base=weights, spline=weights, scaler=apart)


def _quantized_after_training(
    cell: QuantCell, net: Network, split: Split, scale: Scale
) -> tuple[Artifact, NDArray[np.float64], dict[str, Any]]:
    del scale
    spec = row_spec(cell.row, cell.method)
    if spec.scaler is not None and not any(
        branch.bank.role == "spline" and getattr(branch.bank, "scale", None) is not None
        for layer in net.layers
        for branch in layer.branches
    ):
        spec = row_spec(cell.row, "")
    started = time.process_time()
    quantized = quantize_network(net, spec, method=cell.method, calibration=split.X_train, seed=cell.seed)
    seconds = time.process_time() - started
    more = {"seconds": seconds, "weight_bytes": quantized.weight_bytes}
    return quantized.artifact(), _chunked(quantized.evaluate, split.X_test), more


def _trained_quantized(
    cell: QuantCell, net: Network, split: Split, scale: Scale
) -> tuple[Artifact, NDArray[np.float64], dict[str, Any]]:
    import torch

    from lutkan.train import convert, from_network, train

    model = from_network(net, row_spec(cell.row, ""), method=cell.method)
    started = time.process_time()
    train(
        model,
        split.X_train,
        split.y_train,
        epochs=scale.qat_epochs if int(cell.row[3]) < 4 else scale.wide_epochs,
        lr=1e-3,
        seed=cell.seed,
        batch_size=scale.batch,
        progress=False,
    )
    seconds = time.process_time() - started

    def answer(x: NDArray[np.float32]) -> NDArray[np.float64]:
        with torch.no_grad():
            return model(torch.from_numpy(x)).double().numpy()

    return convert(model), _chunked(answer, split.X_test), {"seconds": seconds}


def _mixed(cell: QuantCell, net: Network, split: Split) -> dict[str, Any]:
    """Search bits at the bytes of flat 3 bits, and compare with these."""
    found = search_bits(net, row_spec("w3a8", ""), calibration=split.X_train, method=cell.method, seed=cell.seed)
    flat = quantize_network(net, "w3a8", method=cell.method, calibration=split.X_train, seed=cell.seed)
    best = quantize_network(net, found.spec, method=cell.method, calibration=split.X_train, seed=cell.seed)
    answers = [np.asarray(load(done.artifact()).predict(split.X_test), dtype=np.float64) for done in (best, flat)]
    return {
        "bits": {f"{net.layers[layer].name} {role}": bits for (layer, role), bits in found.bits.items()},
        "mixed_accuracy": _accuracy(answers[0], split),
        "flat_accuracy": _accuracy(answers[1], split),
        "mixed_divergence": found.divergence,
        "flat_divergence": found.flat_divergence,
        "mixed_bytes": best.weight_bytes,
        "flat_bytes": flat.weight_bytes,
    }


def _chunked(evaluate: Callable[[Any], NDArray[np.float64]], X: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.concatenate([evaluate(X[at : at + 1000]) for at in range(0, len(X), 1000)])


def _accuracy(z: NDArray[np.float64], split: Split) -> float:
    """Percent of right decisions."""
    return 100.0 * float(np.mean(z.argmax(axis=1) == split.y_test))


@functools.lru_cache(maxsize=2)
def _split(data: str) -> Split:
    if data == "digits":
        return digits_split()
    path = data_folder() / "mnist.npz"
    if not path.exists():
        raise InputError(
            f"{path} is absent",
            "MNIST as arrays X_train, y_train, X_test, y_test",
            'run python -c "import data; data.mnist()" in benchmarks/',
        )
    with np.load(path) as arrays:
        pixels = [(arrays[f"X_{part}"] / 127.5 - 1).astype(np.float32) for part in ("train", "test")]
        labels = [arrays[f"y_{part}"].astype(np.int64) for part in ("train", "test")]
    return Split(pixels[0], labels[0], pixels[1], labels[1])


@functools.lru_cache(maxsize=4)
def _float_network(
    data: str, family: str, seed: int, folder: str, scale: Scale
) -> tuple[Network, dict[str, NDArray[np.float32]], float]:
    """Load a trained network, or train it and keep it; also the seconds that training took."""
    from safetensors.numpy import load_file, save_file

    path = Path(folder) / f"{data}-{family}-{seed}.safetensors"
    seconds = 0.0
    if not path.exists():
        split = _split(data)
        started = time.perf_counter()
        recipe = Recipe(epochs=scale.float_epochs, batch=scale.batch)
        state = train_network(family, _WIDTHS[data], split.X_train, split.y_train, recipe=recipe, seed=seed)
        seconds = time.perf_counter() - started
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        save_file({name: np.ascontiguousarray(array) for name, array in state.items()}, partial)
        partial.replace(path)
    state = load_file(path)
    return import_trained(family, path), state, seconds


def _least_seconds(call: Callable[[], object], repeats: int = 15) -> float:
    """Return the least processor time of a call; other work on the machine then hardly counts."""
    call()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return max(min(times), 1e-9)


def _speed(
    cell: QuantCell, net: Network, state: dict[str, NDArray[np.float32]], split: Split, checkpoint: int
) -> dict[str, Any]:
    """Time the W4A8 artifact against the float network in torch, and the share that basis functions take in both."""
    from lutkan.lab.arms import torch_

    X = np.resize(split.X_test, (4096, split.X_test.shape[1])).astype(np.float32)
    artifact = quantize_network(
        net, row_spec("w4a8", ""), method="auto", calibration=split.X_train, seed=cell.seed
    ).artifact()
    model = load(artifact)
    ours = _least_seconds(lambda: model.predict(X)) / len(X)
    share, closed = feature_share(cell.family, state, X)
    if cell.family in ("efficient-kan", "fast-kan"):
        arm = torch_.efficient_kan if cell.family == "efficient-kan" else torch_.fast_kan
        call = arm(Drawn(cell.family, _WIDTHS[cell.data], state)).prepare(X)
        upstream = _least_seconds(call, 5) / len(X)
    else:
        upstream = closed / len(X)
    times = {}
    for width in _OUTPUTS:
        part = load(
            quantize_network(
                _first_layer(net, width),
                row_spec("w4a8", ""),
                method="uniform",
                calibration=split.X_train[:512],
                seed=cell.seed,
            ).artifact()
        )
        times[width] = _least_seconds(functools.partial(part.predict, X), 40)
    # A straight line through the widths: what is left at no outputs is encoding and looking features up.
    slope, rest = np.polyfit(list(times), list(times.values()), 1)
    after = max(float(rest), 0.0) / float(rest + slope * max(_OUTPUTS))
    return {
        "runtime": model.info()["runtime"],
        "artifact_seconds_a_row": ours,
        "float_seconds_a_row": upstream,
        "speed_ratio": upstream / ours,
        "file_bytes": artifact.nbytes,
        "table_bytes": artifact.table_nbytes,
        "checkpoint_bytes": checkpoint,
        "size_ratio": checkpoint / artifact.nbytes,
        "table_size_ratio": checkpoint / artifact.table_nbytes,
        "basis_share_before": share,
        "basis_share_after": after,
        "basis_seconds_a_row_before": share * closed / len(X),
        "basis_seconds_a_row_after": max(float(rest), 0.0) / len(X),
    }


def _first_layer(net: Network, outputs: int) -> Network:
    """Return the network of the first layer alone, cut down to some outputs."""
    layer = net.layers[0]
    inputs, kept = np.arange(layer.shape[0]), np.arange(outputs)
    branches = tuple(replace(branch, bank=branch.bank.take(inputs, kept)) for branch in layer.branches)
    bias = None if layer.bias is None else layer.bias[:outputs]
    return Network((replace(layer, branches=branches, bias=bias),), layer.shape[0], net.source)
