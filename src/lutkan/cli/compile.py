"""`lutkan compile`: a checkpoint in, an artifact out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from lutkan.artifact import Artifact
from lutkan.artifact.codec import encode_program
from lutkan.artifact.program import KANOp, SegmentTable
from lutkan.cli.options import (
    ArtifactOutput,
    AsJson,
    Checkpoint,
    Config,
    Drop,
    Family,
    Header,
    Settings,
    import_checkpoint,
    split_names,
)
from lutkan.cli.rows import F32, read_rows, require_place
from lutkan.cli.terminal import count, figure, in_options, print_json, table, working, wrapped
from lutkan.errors import InputError, SpecError
from lutkan.ir import Network
from lutkan.tables import LayerSpec, SegmentSpec, Spec, calibration_rows, compile_network, resolve_spec
from lutkan.tables.spec import NAMED_SPECS, SPEC_NAMES, BranchSpec, named_spec

__all__ = ["DEFAULT_SPEC", "compile", "table_bytes"]

DEFAULT_SPEC = "int8"
AUTO = "auto"


def compile(
    model: Checkpoint,
    output: ArtifactOutput = None,
    spec: Annotated[
        str,
        typer.Option(
            "--spec",
            metavar="SPEC",
            help=f"What tables to make: {', '.join(NAMED_SPECS)}, another number of samples (segment-int8-L32), a "
            ".json file with a Spec, or auto: among int16 to int2, what meets the limits, layer by layer.",
        ),
    ] = DEFAULT_SPEC,
    calib: Annotated[
        Path | None,
        typer.Option(
            "--calib",
            metavar="FILE",
            help="Rows like those to come: .npy, .npz, .csv, .tsv or .parquet. Ranges and errors are measured on them.",
            show_default=False,
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(
            "--domain",
            metavar="LO,HI",
            help="Without --calib: interval to draw 4096 seeded rows from. Default: the core grid.",
            show_default=False,
        ),
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option("--max-error", metavar="E", help="Write nothing if |artifact - model| exceeds it.", min=0.0),
    ] = None,
    target_bytes: Annotated[
        int | None,
        typer.Option("--target-bytes", metavar="N", help="Write nothing if the file is larger.", min=1),
    ] = None,
    family: Family = None,
    config: Config = None,
    settings: Settings = None,
    header: Header = None,
    drop: Drop = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print how many bytes the tables would take (with --spec auto: what was tried), and stop."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compile a checkpoint to an artifact, verify and write it.

    The error figures are measured on the calibration rows (512 of them at most) and stand in the artifact; lutkan
    verify measures them on other rows.

    \b
    Example:
      lutkan compile model.safetensors -o m.lutkan --calib train.npy
      lutkan compile m.pt -o m.lutkan --calib X.npy --spec auto --max-error 0.05
    """  # noqa: D301
    from lutkan import api

    if output is None and not dry_run:
        raise InputError("compile without -o", fix="pass -o OUT for the artifact, or --dry-run")
    if output is not None:
        require_place(output)
    if domain is not None and calib is not None:
        raise InputError("--domain with --calib", fix="pass one of them: calibration rows have a domain of their own")
    if (header is not None or drop) and calib is None:
        raise InputError(
            "--header, --no-header or --drop without --calib", fix="leave them out: they are about its file"
        )
    chosen = _spec(spec)
    bounds = None if domain is None else _domain(domain)
    net = import_checkpoint(model, family, config, settings)
    rows = None
    if calib is not None:
        rows = read_rows(calib, width=net.in_features, what="calibration", header=header, drop=split_names(drop))
    if dry_run:
        if isinstance(chosen, str):
            _print_search(net, rows, bounds, max_error, target_bytes, as_json)
        else:
            _print_plan(net, chosen, rows, bounds, as_json)
        return
    with working("compiling and verifying"):
        artifact = api.compile(
            net, chosen, calibration=rows, domain=bounds, max_error=max_error, target_bytes=target_bytes
        )
    path = artifact.save(output)  # type: ignore[arg-type]
    if as_json:
        print_json(_result(path, artifact))
    else:
        print(_text(path, net, artifact))


def _spec(text: str) -> Spec | str:
    if text == AUTO:
        return AUTO
    if not text.endswith(".json"):
        try:
            named = named_spec(text)
        except SpecError as error:
            raise SpecError(f"--spec {text}: {error.found}", error.allowed, error.fix) from error
        if named is None:
            raise SpecError(f"--spec {text}", f"{SPEC_NAMES}, auto, or a .json file with a Spec", "such as --spec int8")
        return named
    try:
        return resolve_spec(json.loads(Path(text).read_text(encoding="utf-8")))
    except OSError as error:
        raise SpecError(f"{text}: cannot be read ({error.strerror})", "a .json file with a Spec") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{text}: not JSON ({error})", "a .json file with a Spec") from error


def _domain(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--domain {text}", "two numbers LO,HI", "such as --domain=-1,1") from error
    return low, high


def table_bytes(artifact: Artifact) -> list[tuple[str, str, int]]:
    """Return name, kinds of tables and bytes of every KAN layer of an artifact.

    What equal layers share in the file counts for each of them.
    """
    arrays = encode_program(artifact.program)[1]
    found = []
    for index, step in enumerate(artifact.program.steps):
        if isinstance(step, KANOp):
            kinds = ", ".join(branch.table.op for branch in step.branches)
            nbytes = sum(array.nbytes for path, array in arrays.items() if path.startswith(f"s{index}."))
            found.append((step.name or f"step {index}", kinds, nbytes))
    return found


def _print_search(
    net: Network, rows: F32 | None, domain: object, max_error: float | None, target_bytes: int | None, as_json: bool
) -> None:
    """Print what a search tries and what it would take."""
    from lutkan.search import figures_bytes, pareto_table, search_spec

    with working("searching"):
        found = search_spec(
            net,
            *calibration_rows(net, rows, domain),
            max_error=max_error,
            target_bytes=target_bytes,
            reserve=figures_bytes(net),
        )
    tried = pareto_table(found)
    if as_json:
        print_json({"criterion": found.criterion, "met": found.met, "rows": found.rows, "pareto": tried})
        return
    lines = [("", "bytes", "max error", "mean error", "equal", "ns a row (model)")]
    for number, row in enumerate(tried, start=1):
        share = f"{100 * row['agreement']:.2f} %"
        cells = (
            count(row["bytes"]),
            figure(row["max_abs"]),
            figure(row["mae"]),
            share,
            count(round(row["estimated_ns"])),
        )
        lines.append((f"{number}{' *' if row['chosen'] else ''}", *cells))
    print(table(lines))
    for number, row in enumerate(tried, start=1):
        print(wrapped(f"{number}: {'; '.join(row['layers'])}"))
    taken = "* is taken" if found.met else "* is the most exact"
    print(wrapped(f"{taken}: {found.criterion}; errors measured on {count(found.rows)} rows"))


def _print_plan(net: Network, spec: Spec, rows: F32 | None, domain: object, as_json: bool) -> None:
    """Print the bytes of the tables without making the large ones.

    A segment table's codes grow with the number of samples and nothing else in it does, so two samples a segment are
    made and the codes' bytes multiplied.
    """

    def few(of: LayerSpec | BranchSpec) -> Any:
        return replace(of, samples=2) if isinstance(of, SegmentSpec) else of

    small = Spec(few(spec.default), tuple((pattern, few(layer)) for pattern, layer in spec.overrides))
    artifact = compile_network(net, small, *calibration_rows(net, rows, domain))
    kan_ops = [step for step in artifact.program.steps if isinstance(step, KANOp)]
    layers, total = [], artifact.table_nbytes
    for number, (op, (name, kinds, nbytes)) in enumerate(zip(kan_ops, table_bytes(artifact), strict=True)):
        wanted = spec.for_layer(number, net.layers[number].name)
        for branch in op.branches:
            if isinstance(branch.table, SegmentTable) and isinstance(wanted, SegmentSpec):
                more = branch.table.q.nbytes // 2 * wanted.samples - branch.table.q.nbytes
                nbytes, total = nbytes + more, total + more
        layers.append((name, kinds, nbytes))
    if as_json:
        keys = ("layer", "tables", "bytes")
        print_json({"table_bytes": total, "layers": [dict(zip(keys, layer, strict=True)) for layer in layers]})
        return
    lines = [("layer", "tables", "bytes"), *((name, kinds, count(nbytes)) for name, kinds, nbytes in layers)]
    print(table(lines))
    print(f"{count(total)} bytes of tables; the file adds its manifest and golden vectors")


def _result(path: Path, artifact: Artifact) -> dict[str, Any]:
    return {
        "artifact": str(path),
        "bytes": artifact.nbytes,
        "table_bytes": artifact.table_nbytes,
        "content_id": artifact.content_id,
        "layers": [dict(zip(("layer", "tables", "bytes"), layer, strict=True)) for layer in table_bytes(artifact)],
        "spec": artifact.manifest["spec"],
        "source": artifact.manifest["source"],
        "calibration": artifact.manifest["calibration"],
        "verification": artifact.manifest["verification"],
        "certificate": artifact.manifest["certificate"],
        **({"search": artifact.manifest["search"]} if "search" in artifact.manifest else {}),
    }


def _text(path: Path, net: Network, artifact: Artifact) -> str:
    lines = [f"{net.source.family}: {net.in_features} -> {net.out_features}, {count(net.edges)} edges"]
    lines += [wrapped(in_options(f"default taken: {text}"), "  ") for text in net.source.defaults_taken]
    lines += [wrapped(in_options(f"note: {text}"), "  ") for text in net.source.notes]
    calibration = artifact.manifest["calibration"]
    if calibration["rows"]:
        lines.append(f"calibrated on {count(calibration['rows'])} rows")
    else:
        rows = f"{count(calibration['seeded_rows'])} rows drawn from the input domain"
        lines.append(wrapped(f"uncalibrated: ranges and errors are those of {rows}; --calib FILE takes your own rows"))
    lines.append(
        table([(name, kinds, f"{count(nbytes)} bytes") for name, kinds, nbytes in table_bytes(artifact)], "  ")
    )
    found = artifact.manifest["verification"]
    lines.append(
        wrapped(
            f"verified {count(found['rows'])} rows: max error {figure(found['max_abs'])} (approximation "
            f"{figure(found['approximation_max_abs'])}, quantization {figure(found['quantization_max_abs'])}), "
            f"mean {figure(found['mae'])}, equal decisions {100 * found['agreement']:.2f} %"
        )
    )
    lines.append(wrapped(_certified(artifact)))
    lines.append(f"{path}: {count(artifact.nbytes)} bytes")
    return "\n".join(lines)


def _certified(artifact: Artifact) -> str:
    """Say what the manifest certifies."""
    certificate = artifact.manifest["certificate"]
    if certificate["max_abs"] is None:
        return f"no certified bound: {certificate['reason']}"
    low, high = certificate["domain"]
    bound, measured = certificate["max_abs"], artifact.manifest["verification"]["max_abs"]
    ratio = f", {bound / measured:.1f} times what was measured" if measured > 0 else ""
    return f"certified for all inputs in [{low:g}, {high:g}]: error at most {figure(bound)}{ratio}"
