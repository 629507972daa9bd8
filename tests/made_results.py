"""Results of every experiment, small and made up, in the form that the experiments write."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

MACHINE = {
    "cpu": "Some CPU (family 6)",
    "isa_flags": ["avx2", "fma"],
    "caches": {"L1d": 49152, "L2": 2097152},
    "cores": 2,
    "platform": "Linux-6.1",
    "python": "3.11.7 (cpython)",
    "packages": {"numpy": "2.0.0", "torch": None},
    "lutkan": "0.1.0",
    "commit": "0123456789abcdef",
    "dirty": True,
}


def manifest(experiment: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "manifest",
        "experiment": experiment,
        "format_version": 1,
        "command": f"lutkan lab {experiment} -o {experiment}.jsonl",
        "date": "2026-01-02T03:04:05+00:00",
        "machine": MACHINE,
        "pinned": {"core": 1},
        "workers": 1,
        "seeds": [0, 1],
        "parameters": {"rows": 64},
        **more,
    }


def cell(params: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "cell", "params": params, "values": values, "seconds": 0.1}


def sweep_cells() -> list[dict[str, Any]]:
    found = []
    for net in ("10-8", "64-64-10"):
        for seed in (0, 1):
            for value in ("spline_component", "phi"):
                for dtype in ("int8", "uint8"):
                    for L in (4, 16, 64):
                        mae = (1e-2 / L**2 + 1e-5) * (1 + 0.1 * seed)
                        found.append(tables_cell(net, seed, f"segment-{dtype}-L{L}", value, mae, 200 * L))
            for spec, mae, size in (("int16", 1e-5, 900), ("int8", 1e-3, 500), ("int4", 1e-2, 300)):
                found.append(tables_cell(net, seed, spec, "", mae * (1 + 0.1 * seed), size))
    for net in ("10-8", "64-64-10"):
        for batch in (1, 256):
            for seed in (0, 1):
                arms = {
                    name: {
                        "ms": ns / 10,
                        "ns_an_edge": ns + seed,
                        "mean_error": e,
                        "max_error": 4 * e,
                        "memory_bytes": 99,
                    }
                    for name, ns, e in (
                        ("numpy Cox-de Boor an edge", 90.0, 1e-7),
                        ("numba B-spline", 3.0, 1e-7),
                        ("numba segment-int8-L16", 2.0, 1e-4),
                        ("native int8", 0.1, 1e-3),
                    )
                }
                ratios = {"numba B-spline / numba segment-int8-L16": 1.5 + seed / 10}
                skipped = {"PyTorch": "torch is not installed"}
                params = {"net": net, "seed": seed, "batch": batch, "task": "time"}
                found.append(cell(params, {"arms": arms, "ratios": ratios, "skipped": skipped}))
    return found


def tables_cell(net: str, seed: int, tables: str, value: str, mae: float, size: int) -> dict[str, Any]:
    params = {"net": net, "seed": seed, "tables": tables, "value": value, "task": "tables"}
    errors = {"rows": 32, "mae": mae, "max": 4 * mae}
    arrays = {"segment q": size, "segment scale": size // 4} if "segment" in tables else {"basis q": size}
    values = {
        "out_share": 0.1,
        "in_range": errors,
        "out_of_range": {**errors, "mae": 2 * mae},
        "file_bytes": size * 2,
        "table_bytes": sum(arrays.values()),
        "arrays": arrays,
        "memory_bytes": size * 3,
        "checkpoint_bytes": 5000,
    }
    return cell(params, values)


POLICIES = ("half_open/clip_x", "closed/zero_spline", "half_open/model")


def oob_cells() -> list[dict[str, Any]]:
    def errors(mae: float) -> dict[str, Any]:
        return {
            rows: {"mae": mae * (10 if rows == "outside" else 1), "max": mae * 20} for rows in ("inside", "outside")
        }

    found = []
    for net in ("phi tables", "fast-kan cut at its grid"):
        for seed in (0, 1):
            for policy in POLICIES:
                definitions = {other: errors(1e-3 if other == policy else 0.3) for other in POLICIES}
                values = {
                    "out_share": 0.25,
                    "rows": {"inside": 50, "outside": 14},
                    "against_model": errors(1e-3),
                    "against_definition": definitions,
                }
                found.append(cell({"net": net, "seed": seed, "policy": policy}, values))
    return found


def memory_cells() -> list[dict[str, Any]]:
    found = []
    for tables, size in (("basis-8", 500), ("segment-int8-L16", 4000), ("segment-int8-L64", 16000)):
        arrays = {"q": size, "scale": size // 8, "knots": 48}
        values = {
            "checkpoint_bytes": 5000,
            "file_bytes": size + 2000,
            "table_bytes": sum(arrays.values()),
            "arrays": arrays,
            "memory_bytes": {"reference": size, "native": 2 * size},
        }
        found.append(cell({"net": "10-8", "tables": tables}, values))
    return found


def coldstart_cells() -> list[dict[str, Any]]:
    values = {
        "above_numpy_s": 0.03,
        "above_numpy_quartiles_s": [0.02, 0.04],
        "import_median_s": 0.001,
        "load_median_s": 0.02,
        "predict_median_s": 1e-4,
        "heavy": [],
        "with_numpy_s": [0.1, 0.1],
        "predict_s": 2e-6,
        "load_and_predict_s": 5e-3,
        "file_bytes": 9000,
    }
    runtimes = ("native", "reference")
    return [cell({"net": "64-64-10", "tables": "int8", "runtime": name}, values) for name in runtimes]


def dos_cells() -> list[dict[str, Any]]:
    found = []
    common = {"data": "nsl-kdd", "attack": "neptune"}
    for seed in (0, 1):
        quality = dict.fromkeys(("accuracy", "precision", "recall", "f1", "auc", "pr_auc"), 0.99 + seed / 1000)
        confusion = {"tn": 5000, "fp": 40, "fn": 3, "tp": 4957}
        layers = [{"layer": n, "outside_core": 0.3 + n / 10, "outside_knots": 0.1} for n in (0, 1, 2)]
        model = {**quality, "confusion": confusion, "layers": layers, "checkpoint_bytes": 60000}
        found.append(cell({**common, "part": "model", "seed": seed, "spec": "", "batch": 0}, model))
        for spec, error, size in (("int16", 1e-4, 30000), ("int8", 1e-2, 16000), ("segment-int8-L16", 1e-3, 300000)):
            changed = [
                {"row": 17, "label": "neptune", "float_score": 0.5012345, "score": 0.4987, "logit": -0.005},
            ]
            values = {
                **quality,
                "confusion": confusion,
                "f1_lost": 1e-5,
                "max_error": 5 * error,
                "mean_error": error,
                "changed_decisions": len(changed) if spec == "int8" else 0,
                "changed": changed if spec == "int8" else [],
                "file_bytes": size,
            }
            found.append(cell({**common, "part": "spec", "seed": seed, "spec": spec, "batch": 0}, values))
    arm = {"median_s": 1e-5, "ns_an_edge": 3.3, "max_error": 0.01, "mean_error": 0.002, "memory_bytes": 1234}
    arms = [{"name": "native int8", **arm}, {"name": "numpy basis + GEMM", **arm, "ns_an_edge": 33.0}]
    for batch in (1, 256):
        params = {**common, "part": "timing", "seed": 0, "spec": "", "batch": batch}
        found.append(cell(params, {"arms": arms, "skipped": []}))
    return found


def quant_cells() -> list[dict[str, Any]]:
    found = []
    for family in ("efficient-kan", "fast-kan"):
        common = {"data": "digits", "family": family}
        for seed in (0, 1):
            values = {"accuracy": 97.5 + seed, "checkpoint_bytes": 190000, "seconds": 2.0}
            found.append(cell({**common, "seed": seed, "row": "float", "kind": "float", "method": "float"}, values))
            for row, lost, size in (("w8a8", 0.1, 50000), ("w4a4", 1.5, 27000), ("w2a2", 30.0, 15000)):
                for kind, method in (("ptq", "quantkan-uniform"), ("ptq", "auto"), ("qat", "lsq")):
                    drop = lost * (3 if method == "quantkan-uniform" else 1)
                    values = {
                        "accuracy": 97.5 + seed - drop,
                        "drop": drop,
                        "decision_difference": 0.0011,
                        "file_bytes": size,
                        "checkpoint_bytes": 190000,
                        "seconds": 0.5,
                    }
                    found.append(cell({**common, "seed": seed, "row": row, "kind": kind, "method": method}, values))
        sensitivity = {
            "parts": [["layers.0", "input"], ["layers.0", "spline"], ["layers.1", "base"]],
            "bits": [8, 4, 2],
            "accuracy": [[0.97, 0.96, 0.5]] * 3,
            "output_error": [[1e-3, 2e-2, 0.6], [1e-3, 3e-2, 0.7], [2e-3, 4e-2, 0.8]],
            "divergence": [[1e-6, 1e-4, 0.1]] * 3,
            "reference": 0.975,
        }
        params = {**common, "seed": 0, "row": "", "kind": "sensitivity", "method": ""}
        found.append(cell(params, sensitivity))
        params = {**common, "seed": 0, "row": "speed", "kind": "speed", "method": "auto"}
        found.append(cell(params, {"speed_ratio": 40.0, "size_ratio": 7.5, "runtime": "native"}))
    return found


CELLS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "sweep": sweep_cells,
    "oob": oob_cells,
    "memory": memory_cells,
    "coldstart": coldstart_cells,
    "dos": dos_cells,
    "quant": quant_cells,
}


def write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
