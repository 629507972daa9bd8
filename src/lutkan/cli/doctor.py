"""`lutkan doctor`: what is here, what is missing, and whether the runtimes give the right bits."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from lutkan._version import __version__
from lutkan.cli.options import AsJson
from lutkan.cli.terminal import print_json, table, working, wrapped

__all__ = ["cpu", "doctor"]

#: Optional packages: distribution -> what it is for and how to get it.
_PACKAGES = {
    "numba": ("the numba runtime", "lutkan[numba]"),
    "torch": ("live modules and .pt files", "lutkan[torch]"),
    "pyarrow": ("Parquet files", "lutkan[parquet]"),
    "pyyaml": ("YAML configuration and pykan checkpoints", "lutkan[yaml]"),
}
# Flags of /proc/cpuinfo that decide which native kernel can run.
_CPU_FEATURES = (
    "sse4_2", "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "amx_int8",
    "asimd", "asimddp", "i8mm", "sve",
)  # fmt: skip


def doctor(as_json: AsJson = False) -> None:
    """Tell what works on this machine, and what is missing.

    Every runtime that is installed runs a small network and compares its answers, bit for bit; the exit code is 1
    if one of them fails.

    \b
    Example:
      lutkan doctor
    """  # noqa: D301
    with working("trying the runtimes"):
        found = _examine()
    if as_json:
        print_json(found)
    else:
        print(_text(found))
    if any(state.startswith("fails") for state in found["runtimes"].values()):
        raise typer.Exit(1)


def _examine() -> dict[str, Any]:
    import numpy as np

    runtimes, isa = _try_runtimes()
    model, features = cpu()
    return {
        "lutkan": __version__,
        "folder": str(Path(__file__).resolve().parent.parent),
        "python": platform.python_version(),
        "executable": sys.executable,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": model,
        "cores": os.cpu_count() or 1,
        "cpu_features": features,
        "runtimes": runtimes,
        "native_kernels": isa is not None,
        "native_isa": isa,
        "native_isas": _isas(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def cpu() -> tuple[str, list[str]]:
    """Return the processor's name, and those of its features that matter here (Linux only; otherwise none)."""
    name, features = platform.processor() or platform.machine(), set[str]()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                features = set(value.split())
    return name, [feature for feature in _CPU_FEATURES if feature in features]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _isas() -> list[str]:
    """Return the instruction sets that the native kernels can use here, best first."""
    from lutkan.runtimes import native

    return [] if native.missing() else native.available_isas()


def _try_runtimes() -> tuple[dict[str, str], str | None]:
    """Return a word on each runtime ("works", "missing: ..." or "fails: ...") and the native one's instruction set."""
    import numpy as np

    import lutkan
    from lutkan.runtimes.model import RUNTIMES, available_runtimes

    # Five intervals of cubic splines; the widths are no multiple of a vector's, so that its tails are tried too.
    n_in, n_out = 21, 83
    rng = np.random.default_rng(0)
    layer = {
        "grid": np.tile(np.linspace(-2.2, 2.2, 12, dtype=np.float32), (n_in, 1)),
        "base_weight": rng.normal(size=(n_out, n_in)).astype(np.float32),
        "spline_weight": rng.normal(size=(n_out, n_in, 8)).astype(np.float32),
    }
    net = lutkan.import_model(layer, config={"base_activation": "silu"})
    artifacts = {spec: lutkan.compile(net, spec) for spec in ("int8", "segment-int8-L16")}
    rows = rng.normal(scale=1.5, size=(257, n_in)).astype(np.float32)
    expected = {spec: lutkan.load(artifact, "reference").predict(rows) for spec, artifact in artifacts.items()}
    missing = available_runtimes()
    states: dict[str, str] = {}
    isa = None
    for name in RUNTIMES:
        if missing[name]:
            states[name] = f"missing: {missing[name]}"
            continue
        try:
            models = {spec: lutkan.load(artifact, runtime=name) for spec, artifact in artifacts.items()}
            isa = models["int8"].info()["isa"] if name == "native" else isa
            wrong = [spec for spec, model in models.items() if not np.array_equal(model.predict(rows), expected[spec])]
            states[name] = f"fails: other bits than the reference for {', '.join(wrong)}" if wrong else "works"
        except (lutkan.LutkanError, ImportError) as error:
            states[name] = f"fails: {error}"
    return states, isa


def _text(found: dict[str, Any]) -> str:
    lines = [
        table(
            [
                ("lutkan", found["lutkan"]),
                ("python", f"{found['python']}, {found['executable']}"),
                ("numpy", found["numpy"]),
                ("platform", found["platform"]),
                ("cpu", f"{found['cpu']}, {found['cores']} cores"),
            ],
            right=False,
        )
    ]
    if found["cpu_features"]:
        lines.append(wrapped("cpu features: " + " ".join(found["cpu_features"])))
    lines += ["", "runtimes (all give the same bits; the first that works is taken)"]
    lines += [wrapped(f"{name:<12}{state}", "  ") for name, state in found["runtimes"].items()]
    if found["native_kernels"]:
        others = [isa for isa in found["native_isas"] if isa != found["native_isa"]]
        choice = f"; LUTKAN_ISA chooses another: {', '.join(others)}" if others else ""
        lines.append(wrapped(f"native kernels: {found['native_isa']}{choice}", "  "))
    else:
        lines.append("  native kernels: none, this is a pure Python install")
    lines += ["", "optional packages"]
    packages = [
        (
            name,
            version or "absent",
            f"{_PACKAGES[name][0]}" + ("" if version else f": pip install '{_PACKAGES[name][1]}'"),
        )
        for name, version in found["packages"].items()
    ]
    lines.append(table(packages, "  ", right=False))
    return "\n".join(lines)
