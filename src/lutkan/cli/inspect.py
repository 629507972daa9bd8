"""`lutkan inspect`: what a checkpoint or an artifact holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lutkan.adapters.inspection import Inspection
from lutkan.artifact import Artifact
from lutkan.cli.compile import table_bytes
from lutkan.cli.options import AsJson, Config, Family, Settings, open_artifact, read_config
from lutkan.cli.terminal import count, figure, in_options, print_json, table, wrapped
from lutkan.errors import InputError

__all__ = ["inspect", "inspection_text", "is_artifact"]


def inspect(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A checkpoint or an artifact.", show_default=False)],
    family: Family = None,
    config: Config = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Show what a checkpoint or an artifact holds.

    Of a checkpoint: family, layers, knots, domains, what stands between the layers, parameters and bytes, the
    defaults taken, and every setting that --config or --set can give. Of an artifact: layers, tables, bytes, where it
    came from and how it was verified.

    \b
    Example:
      lutkan inspect model.safetensors --set base_activation=gelu
    """  # noqa: D301
    if is_artifact(path):
        if family is not None or config is not None or settings:
            raise InputError(f"{path}: --family, --config and --set do not apply to an artifact", fix="leave them out")
        artifact = open_artifact(path)
        if as_json:
            print_json({key: value for key, value in artifact.manifest.items() if key not in ("program", "arrays")})
        else:
            print(_artifact_text(path, artifact))
        return
    from lutkan.adapters.inspection import inspect_source

    found = inspect_source(path, family, read_config(config, settings))
    print_json(found.to_json()) if as_json else print(inspection_text(found))


def is_artifact(path: str) -> bool:
    """Tell an artifact from a checkpoint: by the suffix, or by a manifest as the first member of a zip file."""
    if path.endswith(".lutkan"):
        return True
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        start = file.read(64)
    return start.startswith(b"PK\x03\x04") and start[30:].startswith(b"manifest.json")


def inspection_text(found: Inspection) -> str:
    """Describe a checkpoint in lines of 80 columns."""
    shape = "" if found.in_features is None else f", {found.in_features} -> {found.out_features}"
    lines = [
        f"{found.origin}: {found.family}{shape}",
        f"{count(found.tensors)} tensors, {count(found.parameters)} parameters, {count(found.nbytes)} bytes",
    ]
    for layer in found.layers:
        lines += [
            "",
            f"{layer.name or 'layer'}: {layer.inputs} -> {layer.outputs}, {count(layer.live_edges)} live edges",
        ]
        lines += [wrapped(branch, "  ") for branch in layer.branches]
        if layer.domain is not None:
            outside = "" if layer.support is None else f"; the spline is zero outside {_interval(layer.support)}"
            lines.append(wrapped(f"trained on {_interval(layer.domain)}{outside}", "  "))
    if found.glue:
        lines += ["", "other steps", *(wrapped(step, "  ") for step in found.glue)]
    if not found.layers and found.layer_names:
        lines.append(wrapped(f"layers: {', '.join(found.layer_names)}"))
    remarks = [f"default taken: {text}" for text in found.defaults_taken] + [f"note: {text}" for text in found.notes]
    if remarks:
        lines += ["", *(wrapped(in_options(remark)) for remark in remarks)]
    if found.needed:
        lines += ["", f"needed before it can be imported: {', '.join(found.needed)} (--set KEY=VALUE or --config FILE)"]
        lines.append(wrapped(in_options(found.problem), "  "))
    if found.config_keys:
        lines += ["", "settings of this family (--set KEY=VALUE or --config FILE)"]
        lines += [wrapped(f"{key}: {text}", "  ") for key, text in found.config_keys.items()]
    return "\n".join(lines)


def _interval(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:g}, {interval[1]:g}]"


def _artifact_text(path: str, artifact: Artifact) -> str:
    program, info = artifact.program, artifact.info
    source: Any = info.get("source", {})
    lines = [
        f"{Path(path).name}: {program.in_features} -> {program.out_features}, {count(program.edges)} edges, "
        f"from {source.get('family', 'an unknown source')}",
        f"{count(artifact.nbytes)} bytes, {count(artifact.table_nbytes)} of them tables and parameters",
        f"content id {artifact.content_id}",
        "",
        table(
            [
                ("step", "", "in", "out", "tables", "bytes"),
                *_steps(artifact),
            ],
            "  ",
        ),
        "",
    ]
    calibration: Any = info.get("calibration", {})
    rows = calibration.get("rows", 0)
    lines.append(f"calibrated on {count(rows)} rows" if rows else "uncalibrated")
    found: Any = info.get("verification")
    if found:
        lines.append(
            f"verified {count(found['rows'])} rows: max error {figure(found['max_abs'])}, mean {figure(found['mae'])}, "
            f"equal decisions {100 * found['agreement']:.2f} %"
        )
    if artifact.golden_x is not None:
        lines.append(f"{len(artifact.golden_x)} golden rows for self-tests")
    lines += [wrapped(in_options(f"default taken: {text}")) for text in source.get("defaults_taken", ())]
    lines += [wrapped(in_options(f"note: {text}")) for text in source.get("notes", ())]
    return "\n".join(lines)


def _steps(artifact: Artifact) -> list[tuple[str, ...]]:
    tables = {name: (kinds, nbytes) for name, kinds, nbytes in table_bytes(artifact)}
    rows = []
    for index, step in enumerate(artifact.program.steps):
        name = getattr(step, "name", "") or (f"step {index}" if step.op == "kan" else "")
        kinds, nbytes = tables.get(name, ("", 0)) if step.op == "kan" else ("", 0)
        rows.append(
            (f"{index} {step.op}", name, str(step.shape[0]), str(step.shape[1]), kinds, count(nbytes) if nbytes else "")
        )
    return rows
