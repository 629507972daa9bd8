"""The study: train, compile under every precision, and compare decisions, bytes and speed on the test side."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan import api
from lutkan.adapters import import_model
from lutkan.artifact import Artifact
from lutkan.errors import InputError, RuntimeUnavailableError
from lutkan.ir import Network
from lutkan.lab.dos.flows import Flows, kind_of, read_cicflow, read_nsl_kdd
from lutkan.lab.dos.network import CORE, RECIPES, Recipe, as_efficient_kan, extended_knots, forward, save, train
from lutkan.lab.dos.sides import Sides, Task, prepare
from lutkan.lab.experiment import Run, run_experiment
from lutkan.lab.timing import Plan
from lutkan.runtimes import load
from lutkan.tables import resolve_spec
from lutkan.verify import verify

__all__ = [
    "QUICK_PLAN",
    "QUICK_SPECS",
    "SPECS",
    "Cell",
    "Source",
    "Study",
    "measure",
    "plan_cells",
    "plan_of",
    "recipe_of",
    "run",
]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

#: Precisions of the study.
SPECS = (
    "float32", "int16", "int8", "int4", "w8a8", "w4a8",
    *(f"segment-{dtype}-L{samples}" for dtype in ("int8", "uint8") for samples in (16, 32, 64, 128)),
)  # fmt: skip
#: A small part of the study, in seconds.
QUICK_SPECS = ("int16", "int8")
QUICK_PLAN = Plan(rounds=3, blocks=1, block_seconds=1e-3)
_QUICK_EPOCHS = 2
_CALIBRATION_ROWS = 4096
# Rows on which a table's own share of inputs beyond it is counted.
_VERIFIED_ROWS = 2048
# What is timed: runtime, spec.
_TIMED = (
    ("native", "int8"), ("native", "int16"), ("native", "int4"), ("native", "w8a8"), ("native", "segment-int8-L16"),
    ("native", "segment-int8-L64"), ("numba", "int8"), ("numba", "segment-int8-L64"), ("reference", "int8"),
)  # fmt: skip
_LAYOUTS = ("segment-int8-L16", "segment-int8-L64")


@dataclass(frozen=True)
class Source:
    """Where flows lie.

    Attributes
    ----------
    name : str
        What the results call it: the name of the folder, or of the file without its suffixes.
    path : str
    """

    name: str
    path: str

    @staticmethod
    def of(path: Path) -> Source:
        """Name what lies at a path.

        Examples
        --------
        >>> Source.of(Path("data/Wednesday-workingHours.pcap_ISCX.csv")).name
        'Wednesday-workingHours'
        """
        return Source(re.split(r"\.", path.resolve().name, maxsplit=1)[0] or path.name, str(path))


@dataclass(frozen=True)
class Study:
    """What decides the figures, beside a cell's own parameters.

    Attributes
    ----------
    sources : tuple of Source
    task : Task
        Its attack is that of the cell.
    drop : tuple of str
        Columns to leave out.
    hidden : tuple of int
    recipe : Recipe
    models : str
        Folder of the trained networks.
    plan : Plan
        Of the timings.
    """

    sources: tuple[Source, ...]
    task: Task = field(default_factory=Task)
    drop: tuple[str, ...] = ()
    hidden: tuple[int, ...] = (32, 16)
    recipe: Recipe = RECIPES["clean"]
    models: str = "dos-models"
    plan: Plan = field(default_factory=Plan)

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if not names or len(set(names)) < len(names):
            raise InputError(f"sources called {names}", "at least one, and no two of one name", "rename a folder")
        if not self.hidden or min(self.hidden) < 1:
            raise InputError(f"hidden layers {list(self.hidden)}", "one or more positive widths")

    def source(self, name: str) -> Source:
        """Return the source of that name."""
        return next(source for source in self.sources if source.name == name)

    def parameters(self) -> dict[str, Any]:
        """Return what the manifest says of the study; files by their digests, wherever they lie."""
        task = asdict(self.task)
        del task["attack"]
        return {
            "data": {source.name: _digests(source.path) for source in self.sources},
            **task,
            "drop": list(self.drop),
            "hidden": list(self.hidden),
            "recipe": asdict(self.recipe),
            "calibration_rows": _CALIBRATION_ROWS,
        }


@dataclass(frozen=True)
class Cell:
    """One thing to measure.

    Attributes
    ----------
    part : str
        "model": the trained network itself; "spec": its tables; "timing": all arms.
    data : str
        Name of the source.
    attack : str
    seed : int
    spec : str
        Of a "spec".
    batch : int
        Of a "timing".
    """

    part: str
    data: str
    attack: str
    seed: int
    spec: str = ""
    batch: int = 0


def plan_of(clock: str, *, quick: bool = False) -> Plan:
    """Return the plan of the timings, by the clock on the wall or, for a machine that others use, by processor time."""
    plan = QUICK_PLAN if quick else Plan()
    return replace(plan, clock=time.thread_time) if clock == "cpu" else plan


def recipe_of(protocol: str, epochs: int | None = None, *, quick: bool = False) -> Recipe:
    """Return how networks are trained under a protocol; exactly so many epochs where they are given.

    Examples
    --------
    >>> recipe_of("paper").epochs, recipe_of("paper", 10).epochs, recipe_of("clean", quick=True).epochs
    (200, 10, 2)
    """
    if epochs is None and not quick:
        return RECIPES[protocol]
    return replace(RECIPES[protocol], epochs=epochs or _QUICK_EPOCHS, steps=0)


def plan_cells(
    study: Study,
    *,
    attacks: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    specs: Sequence[str] = SPECS,
    batches: Sequence[int] = (1, 256),
) -> list[Cell]:
    """List what is to be measured; whatever is wrong with the data shows here, before anything is trained.

    Parameters
    ----------
    study : Study
    attacks : sequence of str
        Classes to detect, a network each: labels, several separated by commas, or "dos". Default: neptune and dos on
        NSL-KDD, dos elsewhere.
    seeds : sequence of int
        Of networks and random splits.
    specs : sequence of str
        Precisions.
    batches : sequence of int
        Rows a call in the timings, which take the first seed's network; none without.

    Raises
    ------
    InputError
        As the readers and `prepare` raise it; no seed.
    SpecError
        An unknown spec.
    """
    if not seeds:
        raise InputError("no seeds", "at least one")
    if any(batch < 1 for batch in batches):
        raise InputError(f"batches {list(batches)}", "positive numbers of rows")
    for spec in specs:
        resolve_spec(spec)
    cells, timings = [], []
    for source in study.sources:
        nsl_kdd = kind_of(Path(source.path)) == "nsl-kdd"
        for attack in tuple(attacks) or (("neptune", "dos") if nsl_kdd else ("dos",)):
            prepare(_flows(source.path, study.drop), replace(study.task, attack=attack), seeds[0])
            for seed in seeds:
                cells.append(Cell("model", source.name, attack, seed))
                cells += [Cell("spec", source.name, attack, seed, spec=spec) for spec in specs]
            timings += [Cell("timing", source.name, attack, seeds[0], batch=batch) for batch in batches]
    return cells + timings


def run(
    study: Study,
    cells: Sequence[Cell],
    output: Path,
    *,
    workers: int = 1,
    ray: bool = False,
    again: bool = False,
    on_cell: Callable[[int], None] | None = None,
) -> Run:
    """Measure the cells that a result file lacks; see `lutkan.lab.experiment.run_experiment`.

    Raises
    ------
    RuntimeUnavailableError
        PyTorch or scikit-learn is not installed.
    """
    _metrics_package()
    return run_experiment(
        "dos",
        cells,
        functools.partial(measure, study),
        output,
        parameters=study.parameters(),
        seeds=list(dict.fromkeys(cell.seed for cell in cells)),
        workers=workers,
        ray=ray,
        again=again,
        on_cell=on_cell,
    )


def measure(study: Study, cell: Cell) -> dict[str, Any]:
    """Return the values of a cell."""
    if cell.part == "model":
        return _model_values(_trained(study, cell.data, cell.attack, cell.seed))
    trained = _trained(study, cell.data, cell.attack, cell.seed)
    return (
        _timing_values(trained, cell.batch, study.plan) if cell.part == "timing" else _spec_values(trained, cell.spec)
    )


# -------------------------------------------------------------------------------------------------------- the network


@dataclass(frozen=True, eq=False)
class _Trained:
    """A trained network, and what the float64 model answers on the test side."""

    sides: Sides
    state: dict[str, F32]
    losses: tuple[float, ...]
    net: Network
    exact: F64
    checkpoint_bytes: int

    @property
    def calibration(self) -> F32:
        rows = np.random.default_rng(0).permutation(len(self.sides.X_train))
        return self.sides.X_train[rows[:_CALIBRATION_ROWS]]


def _digests(path: str) -> dict[str, str]:
    """Return the sha256 of the tables that lie there."""
    place = Path(path)
    files = sorted(file for file in place.iterdir() if file.is_file()) if place.is_dir() else [place]
    return {file.name: _sha256(file) for file in files if re.search(r"\.(csv|txt)(\.gz)?$", file.name.lower())}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flows(path: str, drop: tuple[str, ...]) -> Flows:
    place = Path(path)
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    # A file that has been written since is read again.
    stamps = tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())
    return _read(path, drop, stamps)


@functools.lru_cache(maxsize=2)
def _read(path: str, drop: tuple[str, ...], stamps: tuple[tuple[str, int, int], ...]) -> Flows:
    place = Path(path)
    return read_nsl_kdd(place).without(drop) if kind_of(place) == "nsl-kdd" else read_cicflow(place, drop)


@functools.lru_cache(maxsize=1)
def _trained(study: Study, data: str, attack: str, seed: int) -> _Trained:
    """Train, or take what has been trained before; the last one stays in memory."""
    source = study.source(data)
    sides = prepare(_flows(source.path, study.drop), replace(study.task, attack=attack), seed)
    told = json.dumps([study.parameters()["data"][data], asdict(study.task), asdict(study.recipe), study.hidden])
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    words = re.sub(r"[^a-z0-9]+", "-", f"{data} {attack}".lower()).strip("-")
    path = Path(study.models) / f"{words}-{seed}-{digest}.safetensors"
    if not path.is_file():
        widths = (len(sides.features), *study.hidden, 1)
        state, losses = train(widths, sides.X_train, sides.y_train, study.recipe, seed)
        save(state | {"losses": np.array(losses, dtype=np.float32)}, path)
    from safetensors.numpy import load_file

    state = load_file(path)
    losses = state.pop("losses")
    net = import_model(state)
    exact = np.concatenate(
        [net.evaluate(rows)[:, 0] for rows in np.array_split(sides.X_test, len(sides.X_test) // 2048 + 1)]
    )
    from safetensors.numpy import save as saved

    return _Trained(sides, state, tuple(losses.tolist()), net, exact, len(saved(state)))


# -------------------------------------------------------------------------------------------------------- the figures


def _metrics_package() -> Any:
    try:
        from sklearn import metrics
    except ImportError as error:
        raise RuntimeUnavailableError(
            "the figures of a classifier take scikit-learn", fix="pip install scikit-learn"
        ) from error
    return metrics


def _figures(y: NDArray[np.int64], logits: NDArray[Any]) -> dict[str, Any]:
    """Return the figures of a classifier whose decision is the sign of its output."""
    metrics = _metrics_package()
    called = (logits > 0).astype(np.int64)
    (tn, fp), (fn, tp) = metrics.confusion_matrix(y, called, labels=[0, 1]).tolist()
    return {
        "accuracy": float(metrics.accuracy_score(y, called)),
        "precision": float(metrics.precision_score(y, called, zero_division=0)),
        "recall": float(metrics.recall_score(y, called, zero_division=0)),
        "f1": float(metrics.f1_score(y, called, zero_division=0)),
        "auc": float(metrics.roc_auc_score(y, logits)),
        "pr_auc": float(metrics.average_precision_score(y, logits)),
        "confusion": {"tn": tn, "fp": fp, "fn": fn, "tp": tp},
    }


def _score(logit: float) -> float:
    """Return the probability of an attack that a logit stands for.

    Examples
    --------
    >>> _score(0.0), _score(-800.0)
    (0.5, 0.0)
    """
    return float(1.0 / (1.0 + np.exp(-logit))) if logit > -700.0 else 0.0


def _changed(trained: _Trained, logits: NDArray[Any]) -> list[dict[str, Any]]:
    """Return every test row that is called otherwise than by the float64 model."""
    sides = trained.sides
    return [
        {
            "row": int(sides.rows_test[row]),
            "label": sides.labels_test[row],
            "attack": int(sides.y_test[row]),
            "float_logit": float(trained.exact[row]),
            "float_score": _score(float(trained.exact[row])),
            "logit": float(logits[row]),
            "score": _score(float(logits[row])),
        }
        for row in np.flatnonzero((logits > 0) != (trained.exact > 0))
    ]


def _errors(trained: _Trained, logits: NDArray[Any]) -> dict[str, Any]:
    gap = np.abs(logits - trained.exact)
    changed = _changed(trained, logits)
    return {
        "max_error": float(gap.max()),
        "mean_error": float(gap.mean()),
        "changed_decisions": len(changed),
        "changed": changed,
    }


def _model_values(trained: _Trained) -> dict[str, Any]:
    import torch

    sides = trained.sides
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(array) for name, array in trained.state.items()}
        single = forward(tensors, torch.from_numpy(sides.X_test))[:, 0].numpy()
    knots = extended_knots()
    hidden = []
    for layer, x in enumerate(trained.net.trace(sides.X_test)[:-1]):
        hidden.append(
            {
                "layer": layer,
                "width": x.shape[1],
                "outside_core": float(np.mean((x < CORE[0]) | (x > CORE[1]))),
                "outside_knots": float(np.mean((x < knots[0]) | (x > knots[-1]))),
                "min": float(x.min()),
                "max": float(x.max()),
            }
        )
    by_label = {
        label: [int(mine.sum()), int((trained.exact[mine] > 0).sum())]
        for label in sorted(set(sides.labels_test))
        if (mine := np.array(sides.labels_test) == label).any()
    }
    parts = ("coef", "scale_base", "scale_sp")
    return {
        "data": sides.report,
        "widths": [hidden[0]["width"], *(layer["width"] for layer in hidden[1:]), 1],
        "edges": trained.net.edges,
        "loss": [trained.losses[0], trained.losses[-1]],
        **_figures(sides.y_test, trained.exact),
        "called_attacks_by_label": by_label,
        "logits": {
            "spread": float(trained.exact.std()),
            "nearest_to_the_threshold": float(np.abs(trained.exact).min()),
            "rows_within_0.1": int((np.abs(trained.exact) < 0.1).sum()),
        },
        "layers": hidden,
        "checkpoint_bytes": trained.checkpoint_bytes,
        "parameter_bytes": sum(a.nbytes for name, a in trained.state.items() if name.endswith(parts)),
        "torch_float32": _errors(trained, single),
    }


def _table_bytes(artifact: Artifact) -> int:
    entries = artifact.manifest["arrays"].values()
    every = sum(int(np.prod(entry["shape"])) * np.dtype(entry["dtype"]).itemsize for entry in entries)
    return every - sum(rows.nbytes for rows in (artifact.golden_x, artifact.golden_y) if rows is not None)


def _spec_values(trained: _Trained, spec: str) -> dict[str, Any]:
    artifact = api.compile(trained.net, spec, calibration=trained.calibration, certificate=False)
    logits = load(artifact).predict(trained.sides.X_test)[:, 0].astype(np.float64)
    own = _figures(trained.sides.y_test, trained.exact)
    found = _figures(trained.sides.y_test, logits)
    report = verify(artifact, trained.net, trained.sides.X_test[:_VERIFIED_ROWS])
    return {
        **found,
        "f1_lost": own["f1"] - found["f1"],
        **_errors(trained, logits),
        "approximation": report.approximation.max_abs,
        "quantization": report.quantization.max_abs,
        "outside_tables": [layer.outside_share for layer in report.layers],
        "file_bytes": artifact.nbytes,
        "table_bytes": _table_bytes(artifact),
    }


def _timing_values(trained: _Trained, batch: int, plan: Plan) -> dict[str, Any]:
    """Time all arms in turns on rows of the test side."""
    import importlib.util

    from lutkan.lab.arms import Contender, Skipped
    from lutkan.lab.arms.numpy_ import gemm, look_up
    from lutkan.lab.arms.own import native_call, on_runtime
    from lutkan.lab.suite import run_case

    same = as_efficient_kan(trained.state)
    made = {
        spec: api.compile(trained.net, spec, calibration=trained.calibration, certificate=False)
        for spec in {s for _, s in _TIMED}
    }
    arms: list[Contender | Skipped] = [on_runtime(made[spec], same.evaluate, runtime, spec) for runtime, spec in _TIMED]
    arms += [
        native_call(made["int8"], same.evaluate, "int8"),
        gemm(same),
        look_up(made[_LAYOUTS[0]], same, _LAYOUTS[0]),
    ]
    if importlib.util.find_spec("torch") is None:
        arms.append(Skipped("PyTorch", "torch is not installed"))
    else:
        from lutkan.lab.arms import torch_

        arms += [torch_.pykan(same), torch_.efficient_kan(same)]
    if importlib.util.find_spec("numba") is None:
        arms.append(Skipped("numba B-spline", "numba is not installed"))
    else:
        from lutkan.lab.arms import numba_

        arms += [numba_.bspline(same), numba_.edge_bspline(same)]
        arms += [numba_.edge_lut(made[spec], same, spec) for spec in _LAYOUTS]
    rows = trained.sides.X_test[np.random.default_rng(0).permutation(len(trained.sides.X_test))]
    case = run_case("-".join(map(str, same.widths)), batch, arms, rows, plan).to_json()
    return {
        "clock": "cpu" if plan.clock is time.thread_time else "wall",
        "arms": [
            {key: value for key, value in arm.items() if key not in ("rounds", "seconds")} for arm in case["arms"]
        ],
        "skipped": case["skipped"],
    }
