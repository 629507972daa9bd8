"""How tight certified bounds are: bound over measured error, by layer and for the network, and that none is exceeded.

    python benchmarks/bounds.py                  # digits 64-64-10 of four families and the shipped 64-32-10
    python benchmarks/bounds.py --rows 100000    # fewer rows than 10^6
    python benchmarks/bounds.py --dry            # print, and write nothing

Errors are measured twice: on all 1797 digits, and on rows drawn from the whole certified box, 10^6 for the network and
as many for each layer alone. The command fails if one of them is above its bound. Networks are trained as
`benchmarks/accuracy.py` does, once. Written are `benchmarks/results/bounds.json` and `docs/benchmarks/bounds.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lutkan
from lutkan.artifact import Artifact
from lutkan.artifact.program import KANOp, Program
from lutkan.lab.results import markdown_table
from lutkan.verify import Certificate

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "bounds.json"
PAGE = HERE.parent / "docs" / "benchmarks" / "bounds.md"
SPECS = ("int16", "int8", "int4", "segment-int8-L64")
NETS = ("example", "efficient-kan", "pykan", "pykan-adapted", "fast-kan")
CHUNK = 20_000

Record = dict[str, Any]


def network(name: str) -> tuple[lutkan.Network, np.ndarray, np.ndarray]:
    """Return a network, its calibration rows and all rows of its data."""
    sys.path.insert(0, str(HERE))
    import accuracy
    import data

    split = data.digits(0)
    every = np.concatenate([split.X_train, split.X_test]).astype(np.float64)
    if name == "example":
        folder = HERE.parent / "examples"
        return lutkan.import_model(folder / "digits.safetensors"), split.X_train.astype(np.float64), every
    path = data.data_folder() / "accuracy" / f"digits-{name}-0.safetensors"
    if not path.exists():
        accuracy.train(name, accuracy.WIDTHS["digits"], split, 0, accuracy.EPOCHS["digits"], 64, path)
    return lutkan.import_model(path), split.X_train.astype(np.float64), every


def drawn(low: np.ndarray, high: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw rows from a box; every fourth one has half of its entries on the border."""
    x = rng.uniform(low, high, (count, len(low)))
    corner = np.where(rng.random(x.shape) < 0.5, low, high)
    x[::4] = np.where(rng.random(x[::4].shape) < 0.5, corner[::4], x[::4])
    return np.clip(x, low, high).astype(np.float32)


def largest(model: lutkan.Model, exact: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the largest error of every output."""
    return np.abs(model.predict(x) - exact).max(axis=0)


def measure(name: str, rows: int) -> list[Record]:
    """Compile, certify and measure one network under all specs."""
    net, calibration, every = network(name)
    domain = every.min(axis=0), every.max(axis=0)
    artifacts: dict[str, Artifact] = {}
    certificates: dict[str, Certificate] = {}
    records = []
    for spec in SPECS:
        artifact = lutkan.compile(net, spec, calibration=calibration, certificate=False)
        started = time.perf_counter()
        certificate = lutkan.certify(artifact, net, domain)
        seconds = time.perf_counter() - started
        report = lutkan.verify(artifact, net, every)
        artifacts[spec], certificates[spec] = artifact, certificate
        records.append(
            {
                "net": name,
                "spec": spec,
                "seconds": round(seconds, 3),
                "bound": certificate.max,
                "reason": certificate.reason,
                "on_data": report.max_abs,
                "layers": [
                    {"bound": layer.max, "on_data": measured.total.max_abs}
                    for layer, measured in zip(certificate.layers, report.layers, strict=True)
                ],
            }
        )
    for record, found in zip(records, _drawn_errors(net, artifacts, certificates, rows), strict=True):
        record |= {"rows": rows, "drawn": found[0]}
        for layer, error in zip(record["layers"], found[1:], strict=True):
            layer["drawn"] = error
        _print(record)
    return records


def _drawn_errors(
    net: lutkan.Network, artifacts: dict[str, Artifact], certificates: dict[str, Certificate], rows: int
) -> list[list[float]]:
    """Measure on rows of the certified boxes: a list a spec, the network first, then its layers."""
    rng = np.random.default_rng(0)
    first = next(iter(certificates.values()))
    steps = [layer.step for layer in first.layers]
    runs = {spec: lutkan.load(artifact) for spec, artifact in artifacts.items()}
    alone = {
        (spec, step): lutkan.load(Artifact(Program(op.in_features, (op,))))
        for spec, artifact in artifacts.items()
        for step in steps
        if isinstance(op := artifact.program.steps[step], KANOp)
    }
    errors = {spec: np.zeros(1 + len(steps)) for spec in artifacts}
    bounds = {
        spec: [certificate.error, *(layer.error for layer in certificate.layers)]
        for spec, certificate in certificates.items()
    }
    # The box of a layer is widened by the error so far: that of the most exact artifact lies in all others.
    boxes = [(first.low, first.high), *((layer.low, layer.high) for layer in first.layers)]
    for start in range(0, rows, CHUNK):
        for place, (low, high) in enumerate(boxes):
            x = drawn(low, high, min(CHUNK, rows - start), rng)
            wide = x.astype(np.float64)
            exact = net.evaluate(wide) if place == 0 else net.steps[steps[place - 1]].evaluate(wide)
            for spec in artifacts:
                model = runs[spec] if place == 0 else alone[spec, steps[place - 1]]
                error, bound = largest(model, exact, x), bounds[spec][place]
                if bound is not None and (error > bound).any():
                    raise SystemExit(f"{spec}: an error of {error.max():.6g} is above its bound of {bound.max():.6g}")
                errors[spec][place] = max(errors[spec][place], float(error.max()))
    return [errors[spec].tolist() for spec in artifacts]


def _ratio(bound: float | None, error: float) -> str:
    return "none" if bound is None else f"{bound / error:.1f}"


def _print(record: Record) -> None:
    layers = ", ".join(_ratio(layer["bound"], layer["on_data"]) for layer in record["layers"])
    print(
        f"{record['net']:<15}{record['spec']:<18} bound / error on data: layers {layers}; network "
        f"{_ratio(record['bound'], record['on_data'])}; on {record['rows']} drawn rows "
        f"{_ratio(record['bound'], record['drawn'])}; {record['seconds']:.2f} s",
        flush=True,
    )


def page(records: Sequence[Record]) -> str:
    """Write the page."""
    body = []
    for record in records:
        bound = "none" if record["bound"] is None else f"{record['bound']:.3g}"
        body.append(
            (
                record["net"],
                record["spec"],
                *(
                    f"{_ratio(layer['bound'], layer['on_data'])} ({_ratio(layer['bound'], layer['drawn'])})"
                    for layer in record["layers"]
                ),
                f"{_ratio(record['bound'], record['on_data'])} ({_ratio(record['bound'], record['drawn'])})",
                bound,
                f"{record['on_data']:.3g}",
                f"{record['seconds']:.2f} s",
            )
        )
    heads = ("network", "spec", "layer 1", "layer 2", "network", "bound", "error on data", "certified in")
    finite = [record for record in records if record["bound"] is not None]
    wide = [record for record in finite if record["net"] != "example"]
    by_layer = max(layer["bound"] / layer["on_data"] for record in wide for layer in record["layers"])
    whole = max(record["bound"] / record["on_data"] for record in wide)
    reasons = sorted({f"{record['net']}: {record['reason']}" for record in records if record["reason"]})
    return "\n".join(
        [
            "# How tight certified bounds are",
            "",
            "Bound over measured error: on all 1797 digits, and in brackets on "
            f"{records[0]['rows']:,} rows drawn from the whole certified box.",
            "`example` is the shipped network 64-32-10, the others are digits 64-64-10, trained as for",
            "[accuracy](accuracy.md). What the bounds are and how they are computed is in",
            "[Certified error bounds](../explanation/error-bounds.md).",
            "",
            "On digits 64-64-10, where a bound is finite for the network, a layer's is at most",
            f"**{by_layer:.1f}** times its largest error on the data (asked: 15), and that of both layers together",
            f"at most **{whole:.1f}** times (asked: 150). No error was above its bound; the command fails if one",
            "has.",
            "",
            markdown_table([heads, *body]),
            "",
            *(f"* {reason}" for reason in reasons),
            "",
            "Made by `python benchmarks/bounds.py`.",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--dry", action="store_true", help="print, and write nothing")
    options = parser.parse_args(arguments)
    records = [record for name in options.nets for record in measure(name, options.rows)]
    if not options.dry:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({"version": 1, "records": records}, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(records), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
