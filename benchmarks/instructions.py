"""How many instructions the native runtime spends on an edge, by valgrind: stable where times are not.

    python benchmarks/instructions.py      # needs valgrind; writes the result file and the page

AVX2 kernels, because valgrind runs no AVX-512; the first call of a process is not counted apart.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lutkan
from lutkan.lab import nets
from lutkan.lab.results import markdown_table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "instructions.json"
PAGE = HERE.parent / "docs" / "benchmarks" / "instructions.md"
SHAPES = ("64-64", "784-64", "78-32-16-1")
SPECS = ("int8", "int16", "float32", "segment-int8-L64", "segment-uint8-L16")
ROWS = 256
PARTS = ("encode", "locate", "basis8", "basis16", "segment", "add_products", "activate", "finish8", "finish16", "run")

_CALL = """
import sys, numpy as np, lutkan
model = lutkan.load(sys.argv[1], runtime="native")
rows, n_in = int(sys.argv[2]), model.in_features
X = np.random.default_rng(0).uniform(-1, 1, (rows, n_in)).astype(np.float32)
model.predict(X, out=np.empty((rows, model.out_features), np.float32))
"""


def count(artifact: Path) -> dict[str, int]:
    """Count the instructions of one call, in all and by kernel."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        command = ["valgrind", "--tool=callgrind", "--toggle-collect=lk_run", f"--callgrind-out-file={out}"]
        command += [sys.executable, "-c", _CALL, str(artifact), str(ROWS)]
        environment = {**os.environ, "LUTKAN_ISA": "avx2", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        listed = subprocess.run(["callgrind_annotate", "--threshold=100", str(out)], capture_output=True, text=True)
    total = re.search(r"Collected : (\d+)", done.stderr)
    if total is None:
        sys.exit("valgrind counted nothing: is the native runtime installed?")
    counts = {"all": int(total[1])}
    for number, name in re.findall(r"^ *([\d,]+) .*?:lk_(\w+?)(?:_avx2)? ", listed.stdout, re.MULTILINE):
        counts[name] = counts.get(name, 0) + int(number.replace(",", ""))
    return counts


def page(results: dict[str, Any]) -> str:
    """Write the page."""
    head = ("network", "tables", "instructions an edge", *PARTS)
    rows: list[tuple[str, ...]] = [head]
    for record in results["records"]:
        edges = record["edges"] * results["rows"]
        parts = (record["counts"].get(name, 0) / edges for name in PARTS)
        shares = [f"{share:.2f}" if share >= 0.005 else "" for share in parts]
        rows.append((record["shape"], record["spec"], f"{record['counts']['all'] / edges:.2f}", *shares))
    text = (
        f"Instructions of one `predict` of {results['rows']} rows, an edge and row: all of `lk_run`, and those of its "
        "largest kernels. AVX2 kernels (valgrind runs no AVX-512, which takes about half as many, and no AMX). "
        "Counts do not depend on what else the machine does; they say nothing of cache misses."
    )
    return "\n\n".join(
        (
            "# Instructions an edge",
            "<!-- Written by benchmarks/pages.py from benchmarks/results/instructions.json; do not edit this page. -->",
            text,
            markdown_table(rows),
            f"Made by `python benchmarks/instructions.py` with lutkan {results['lutkan']}.\n",
        )
    )


def main() -> int:
    """Count and write."""
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed; on Debian and Ubuntu: apt-get install valgrind")
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES:
            model = nets.efficient_kan(tuple(int(width) for width in shape.split("-")))
            rows = nets.input_rows(model.widths[0], 1024)
            for spec in SPECS:
                print(f"{shape} {spec}", file=sys.stderr)
                artifact = lutkan.compile(model.network, spec, calibration=rows, certificate=False)
                path = artifact.save(Path(folder) / "counted.lutkan")
                records.append({"shape": shape, "spec": spec, "edges": model.edges, "counts": count(Path(path))})
    results = {"command": "python benchmarks/instructions.py", "lutkan": lutkan.__version__, "rows": ROWS}
    results |= {"records": records}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")
    print(page(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
