"""`lutkan quantize`: a checkpoint in, an integer artifact out, without training."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from lutkan.artifact import Artifact
from lutkan.cli.compile import table_bytes
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
from lutkan.cli.rows import read_rows, require_place
from lutkan.cli.terminal import count, figure, in_options, print_json, progress, table, working, wrapped
from lutkan.errors import InputError, SpecError
from lutkan.ir import Network
from lutkan.tables import LayerSpec, Spec, resolve_spec
from lutkan.train.ptq.methods import METHODS
from lutkan.train.ptq.network import Quantized

__all__ = ["quantize"]

_BITS = re.compile(r"w[2-8]a[2-8]")


def quantize(
    model: Checkpoint,
    output: ArtifactOutput = None,
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help=f"How codes are chosen: {', '.join(METHODS)}.")
    ] = "auto",
    bits: Annotated[
        str,
        typer.Option(
            "--bits",
            metavar="wBaB",
            help="Bits of weights and of layer inputs, 2 to 8 each, such as w4a8; or a .json file with a Spec, for "
            "bits by layer and branch.",
        ),
    ] = "w4a8",
    calib: Annotated[
        Path | None,
        typer.Option(
            "--calib",
            metavar="FILE",
            help="Rows like those to come, 500 to 2000 of them: .npy, .npz, .csv, .tsv or .parquet. Only zeroq needs "
            "none.",
            show_default=False,
        ),
    ] = None,
    mixed: Annotated[
        bool,
        typer.Option(
            "--mixed", help="Spread the bytes that --bits would take over layers and branches; never worse than flat."
        ),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything that is drawn.")] = 0,
    family: Family = None,
    config: Config = None,
    settings: Settings = None,
    header: Header = None,
    drop: Drop = None,
    as_json: AsJson = False,
) -> None:
    """Quantize a checkpoint without training, down to 2 bits.

    The error figures are measured on the calibration rows (512 of them at most) and stand in the artifact; lutkan
    verify measures them on other rows. Quantization-aware training, which needs torch, is in lutkan.train.

    \b
    Example:
      lutkan quantize model.safetensors --bits w4a8 --calib train.npy -o m.lutkan
      lutkan quantize m.pt --method gptq --bits w2a4 --calib X.csv -o m.lutkan
    """  # noqa: D301
    if output is None:
        raise InputError("quantize without -o", fix="pass -o OUT for the artifact")
    require_place(output)
    if method not in METHODS:
        raise SpecError(f"--method {method}", ", ".join(METHODS))
    if calib is None and not METHODS[method].synthetic:
        raise InputError(
            "quantize without --calib", "a file of rows like those to come", "pass one, or take --method zeroq"
        )
    if calib is None and mixed:
        raise InputError("--mixed without --calib", fix="pass rows: one half judges what the other half made")
    if (header is not None or drop) and calib is None:
        raise InputError(
            "--header, --no-header or --drop without --calib", fix="leave them out: they are about its file"
        )
    chosen = _spec(bits)
    net = import_checkpoint(model, family, config, settings)
    rows = None
    if calib is not None:
        rows = read_rows(calib, width=net.in_features, what="calibration", header=header, drop=split_names(drop))
    done, search = _run(net, chosen, method, rows, seed, mixed)
    with working("compiling and verifying"):
        artifact = done.artifact(None if search is None else {"search": search}, rows=rows)
    path = artifact.save(output)
    if as_json:
        print_json(_result(path, done, artifact))
    else:
        print(_text(path, done, artifact))


def _run(
    net: Network, spec: Spec | LayerSpec, method: str, rows: Any, seed: int, mixed: bool
) -> tuple[Quantized, dict[str, Any] | None]:
    """Quantize, and say what a search for bits compared."""
    from lutkan.train.ptq.network import quantize_network

    if mixed:
        from lutkan.train.sensitivity import search_bits

        with working("searching bits"):
            found = search_bits(net, spec, calibration=rows, method=method, seed=seed)
        spec = found.spec
        search = {
            "bits": {f"{net.layers[layer].name} {role}": bits for (layer, role), bits in found.bits.items()},
            "divergence": found.divergence,
            "flat_bits": found.flat_bits,
            "flat_divergence": found.flat_divergence,
        }
    else:
        search = None
    before = 0
    with progress(f"quantizing ({method})", len(net.layers)) as advance:

        def shown(done: int, total: int, name: str) -> None:
            nonlocal before
            del total, name
            advance(done - before)
            before = done

        return quantize_network(net, spec, method=method, calibration=rows, seed=seed, progress=shown), search


def _spec(text: str) -> Spec | LayerSpec:
    if text.endswith(".json"):
        try:
            return resolve_spec(json.loads(Path(text).read_text(encoding="utf-8")))
        except OSError as error:
            raise SpecError(f"{text}: cannot be read ({error.strerror})", "a .json file with a Spec") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise SpecError(f"{text}: not JSON ({error})", "a .json file with a Spec") from error
    if not _BITS.fullmatch(text):
        raise SpecError(f"--bits {text}", "w<2 to 8>a<2 to 8>, or a .json file with a Spec", "such as --bits w4a8")
    return resolve_spec(text)


def _layers(done: Quantized) -> list[dict[str, Any]]:
    return [
        {
            "layer": layer.layer.name,
            "input_bits": layer.grid.bits,
            "input_range": [layer.grid.low, layer.grid.low + layer.grid.step * (layer.grid.levels - 1)],
            "weight_bits": {branch.bank.role: branch.bits for branch in layer.branches},
        }
        for layer in done.layers
    ]


def _result(path: Path, done: Quantized, artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "artifact": str(path),
        "bytes": artifact.nbytes,
        "table_bytes": artifact.table_nbytes,
        "content_id": artifact.content_id,
        "method": done.info["method"],
        "seed": done.info["seed"],
        "calibration_rows": done.info["calibration_rows"],
        "layers": _layers(done),
        "spec": done.spec.to_json(),
        **{key: manifest[key] for key in ("verification", "search") if key in manifest},
    }


def _text(path: Path, done: Quantized, artifact: Artifact) -> str:
    net = done.net
    lines = [f"{net.source.family}: {net.in_features} -> {net.out_features}, {count(net.edges)} edges"]
    lines += [wrapped(in_options(f"default taken: {text}"), "  ") for text in net.source.defaults_taken]
    rows = done.info["calibration_rows"]
    how = f"calibrated on {count(rows)} rows" if rows else "calibrated on no data: rows drawn from the grid's domain"
    lines.append(f"method {done.info['method']}, {how}")
    cells = [("layer", "input bits", "input range", "weight bits", "bytes")]
    for layer, (_, _, nbytes) in zip(_layers(done), table_bytes(artifact), strict=True):
        low, high = layer["input_range"]
        bits = ", ".join(f"{role} {number}" for role, number in layer["weight_bits"].items())
        cells.append((layer["layer"], str(layer["input_bits"]), f"{low:.3g} to {high:.3g}", bits, count(nbytes)))
    lines.append(table(cells, "  "))
    found = artifact.manifest.get("verification")
    if found:
        lines.append(
            wrapped(
                f"verified {count(found['rows'])} rows: max error {figure(found['max_abs'])}, mean "
                f"{figure(found['mae'])}, equal decisions {100 * found['agreement']:.2f} %"
            )
        )
    else:
        lines.append("not verified: lutkan verify does it on rows of yours")
    search = artifact.manifest.get("search")
    if search and set(search["bits"].values()) == {search["flat_bits"]}:
        lines.append(
            wrapped(
                f"the search kept {search['flat_bits']} bits everywhere: no spread of these bytes that it tried came "
                f"closer to the float model (divergence {figure(search['divergence'])})"
            )
        )
    elif search and search["flat_divergence"] is not None:
        lines.append(
            wrapped(
                f"divergence from the float model {figure(search['divergence'])}, with flat {search['flat_bits']} bits "
                f"{figure(search['flat_divergence'])}"
            )
        )
    lines.append(f"{path}: {count(artifact.nbytes)} bytes")
    return "\n".join(lines)
