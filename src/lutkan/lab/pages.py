"""Result files as Markdown pages: the same file gives the same page."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lutkan.errors import InputError
from lutkan.lab import coldstart, oob, sweep
from lutkan.lab.dos.page import page as dos_page
from lutkan.lab.experiment import Run
from lutkan.lab.quant_page import quant_page
from lutkan.lab.results import markdown_table, microseconds
from lutkan.lab.statistics import summarize

__all__ = [
    "PAGES",
    "coldstart_page",
    "memory_page",
    "method_block",
    "oob_page",
    "page",
    "run_markdown",
    "sweep_page",
]

Rows = list[tuple[str, ...]]


def page(run: Run) -> str:
    """Write the page of a run.

    Raises
    ------
    InputError
        An experiment without a page.
    """
    name = run.manifest.get("experiment")
    if name not in PAGES:
        raise InputError(f"no page for the experiment {name!r}", ", ".join(PAGES))
    return PAGES[name](run)


def run_markdown(run: Run) -> str:
    """Say where a run comes from, a line each."""
    m = run.manifest
    machine = m["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    commit = machine["commit"] or "unknown"
    seeds = ", ".join(map(str, m["seeds"]))
    core = m["pinned"]["core"]
    where = (
        f"one thread{'' if core is None else f' on core {core}'}" if m["workers"] == 1 else f"{m['workers']} workers"
    )
    parameters = ", ".join(f"{key} {_parameter(value)}" for key, value in m["parameters"].items())
    cells = f"{len(run.cells)} of {m['cells']} cells" if len(run.cells) < m["cells"] else f"{len(run.cells)} cells"
    lines = [
        f"- command: `{m['command']}`",
        f"- {machine['cpu']}; {' '.join(machine['isa_flags'])}",
        f"- {where}, {machine['cores']} cores; {machine['platform']}",
        f"- Python {machine['python']}, {packages}",
        f"- lutkan {machine['lutkan']}, commit {commit[:12]}{' with local changes' if machine['dirty'] else ''}, "
        f"{m['date']}",
        f"- {cells}; seeds {seeds}{'; ' + parameters if parameters else ''}",
    ]
    return "\n".join(lines)


def _parameter(value: object) -> str:
    """Write a parameter: a mapping as its entries in brackets."""
    if isinstance(value, Mapping):
        return f"({', '.join(f'{key} {inner}' for key, inner in value.items())})"
    return str(value)


def _head(title: str, experiment: str) -> list[str]:
    return [
        f"# {title}",
        f"<!-- Written by benchmarks/pages.py from benchmarks/results/{experiment}.jsonl; do not edit this page. -->",
    ]


def _text(paragraphs: str) -> str:
    """Fill the paragraphs of a text to lines of 120 columns."""
    blocks = textwrap.dedent(paragraphs).strip().split("\n\n")
    return "\n\n".join(
        textwrap.fill(" ".join(block.split()), 120, break_long_words=False, break_on_hyphens=False) for block in blocks
    )


def _clock(run: Run) -> str:
    """Say what times were taken with."""
    if run.manifest["parameters"].get("clock") == "cpu":
        return _text(
            """Times are processor time, since others used the machine: what a program took while it ran, without its
            turns of waiting. On an idle machine that is the time on the wall, but for waiting on files."""
        )
    return "Times are those of the clock on the wall."


def _names(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _values(cells: Iterable[Mapping[str, Any]], *path: str) -> list[float]:
    """Return one figure of several cells."""
    found = []
    for cell in cells:
        value: Any = cell["values"]
        for key in path:
            value = value[key]
        found.append(value)
    return found


def _figure(value: float, digits: int = 3) -> str:
    """Write a number with some digits, large ones as whole numbers."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


def _mean(values: Sequence[float], factor: float = 1.0) -> str:
    """Write mean and standard deviation."""
    found = summarize(values)
    mean = _figure(factor * found.mean)
    return mean if found.count == 1 else f"{mean} ± {_figure(factor * found.std, 2)}"


def _interval(values: Sequence[float], factor: float = 1.0) -> str:
    found = summarize(values)
    return f"{_figure(factor * found.low)} to {_figure(factor * found.high)}" if found.count > 1 else ""


# --- sweep ---

_SWEEP = """
One network as tables of every kind, and the same network as the B-splines it was trained with. Errors are
|tables - model|, the model in float64, on rows of N(0, 1): in range they are clipped to the knots of the first layer,
as in the paper; out of range they are not, and every row has an input beyond the knots. Figures are means over the
seeds (other weights, other rows) with the standard deviation, and 95 % confidence intervals of the mean by Student's t.

Segment tables are LUT-KAN's (arXiv 2601.03332) on closed domains: int8 is symmetric, uint8 asymmetric; they hold the
spline alone (`spline_component`) or the whole edge (`phi`). int16, int8, int4 and float32 are `basis` tables: the
B-spline's own coefficients, quantized, with up to four taps a look-up.

`10-8` (G = 8) is the network of the paper's controlled experiments, drawn as pykan initialises it. The others are drawn
so that hidden activations spread as in trained networks: 78-32-16-1 and 64-64-10 with G = 5, the single layers with
G = 8, all cubic with a SiLU base. Their coefficients are independent draws, so these splines are rougher than trained
ones, and few bits cost more here than on [trained networks](accuracy.md).
"""
_PUBLISHED = """
The same errors as LUT-KAN's revised controlled experiments report them (reproducibility/ncaa_r1/controlled of version
2.2.0 of its code, its own runs, scales in float16), beside ours on other draws of the same kind of network:
"""
# Mean errors in range by tables, not measured here.
_PUBLISHED_ERRORS = {
    "segment-int8-L16": 2.06e-5,
    "segment-int8-L32": 1.80e-5,
    "segment-int8-L64": 1.77e-5,
    "segment-int8-L128": 1.78e-5,
    "segment-uint8-L16": 1.43e-5,
    "segment-uint8-L32": 1.00e-5,
    "segment-uint8-L64": 9.73e-6,
    "segment-uint8-L128": 9.73e-6,
}
_SWEEP_TIMES = """
An arm's time is the median over the rounds of a seed; arms of a case take turns. `Cox-de Boor an edge` is the paper's
baseline: the whole recursion, anew for every pair of input and output (networks of up to 5000 edges).
`numpy basis + GEMM`, `numba B-spline` and `native float32` are ordinary B-splines: an input's bases once for all of its
edges. `numba B-spline` is free to reorder float operations; `numba float32` and `native float32` keep lutkan's fixed
order, as all tables on these engines do, so beside them the kernel quality is the same and only the tables differ.
`LUT-KAN layout` is the paper's memory layout, an edge after the other.
"""


def _arm_label(name: str) -> str:
    return name.replace("segment-", "")


def sweep_page(run: Run) -> str:
    """Write the page of a sweep: ratios, everything side by side, times, errors, bytes."""
    tables, times = run.select(task="tables"), run.select(task="time")
    names = _names(cell["params"]["net"] for cell in run.cells)
    parts = [*_head("The controlled sweep", "sweep"), _text(_SWEEP), run_markdown(run)]
    parts += ["## What a look-up gains over a B-spline", _text(_SWEEP_TIMES), _clock(run)]
    parts.append(markdown_table(_ratio_rows(times)))
    parts += [
        "## Accuracy, speed and bytes side by side",
        _text(
            """Errors in range, over the standard deviation of the model's outputs; times on the native runtime in
            nanoseconds an edge and row. Tables `float32` are the exact B-spline. Segment tables hold the spline
            alone."""
        ),
    ]
    for name in names:
        parts += [f"**{name}**", markdown_table(_side_rows(name, tables, times))]
    parts.append("## Errors")
    for name in names:
        parts += [f"**{name}**", markdown_table(_error_rows(name, tables))]
    published = _published_rows(run)
    if published:
        parts += ["**10-8, beside the published errors**", _text(_PUBLISHED), markdown_table(published)]
    parts.append("## Times")
    for name in names:
        for batch in _names(str(cell["params"]["batch"]) for cell in times if cell["params"]["net"] == name):
            mine = [c for c in times if c["params"]["net"] == name and str(c["params"]["batch"]) == batch]
            rows = "1 row" if batch == "1" else f"{batch} rows"
            parts += [f"**{name}, {rows} a call**", markdown_table(_time_rows(mine))]
            skipped = {arm: why for cell in mine for arm, why in cell["values"]["skipped"].items()}
            parts += [f"Not timed: {arm}: {why}." for arm, why in skipped.items()]
    parts += ["## Bytes by array", "Of the first seed."]
    for name in names:
        parts += [f"**{name}**", markdown_table(_array_rows([c for c in tables if c["params"]["net"] == name]))]
    return "\n\n".join(parts) + "\n"


def _ratio_rows(times: Sequence[Mapping[str, Any]]) -> Rows:
    rows: Rows = [("network, rows a call", "look-up", "over the paper's B-spline", "over a B-spline", "95 %", "which")]
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for cell in times:
        groups.setdefault((cell["params"]["net"], cell["params"]["batch"]), []).append(cell)
    for (net, batch), cells in groups.items():
        for tier in sweep.TIERS:
            for look_up in tier.look_ups:
                arm = look_up.format("segment-int8-L16")
                for local in tier.local:
                    key = f"{local} / {arm}"
                    if not all(key in cell["values"]["ratios"] for cell in cells):
                        continue
                    paper = f"{tier.paper} / {arm}"
                    known = all(paper in cell["values"]["ratios"] for cell in cells)
                    found = _values(cells, "ratios", key)
                    rows.append(
                        (
                            f"{net}, {batch}",
                            _arm_label(arm),
                            f"{_mean(_values(cells, 'ratios', paper))}x" if known else "",
                            f"**{_mean(found)}x**",
                            _interval(found),
                            local,
                        )
                    )
    return rows


def method_block(run: Run) -> str:
    """Write the figures of the page on method: how much faster a look-up is than a B-spline, and in how many bytes."""
    times = run.select(task="time")
    rows: Rows = [
        ("int8 look-up, L = 16 and 64, against", "median", "from", "to", "cases"),
    ]
    names = [name for name in sweep.TIMED if "int8" in name]
    for text, pairs in (
        (
            "the recursion an edge, numpy (the paper's)",
            [("numpy Cox-de Boor an edge", f"numpy {name}") for name in names],
        ),
        (
            "the recursion an edge, Numba (the paper's)",
            [("numba Cox-de Boor an edge", f"LUT-KAN layout {name}") for name in names],
        ),
        ("one matrix product, numpy", [("numpy basis + GEMM", f"numpy {name}") for name in names]),
        ("local support, the best in Numba", [("numba B-spline", f"numba {name}") for name in names]),
        ("**local support, the same Numba engine**", [("numba float32", f"numba {name}") for name in names]),
        ("**local support, the same native engine**", [("native float32", f"native {name}") for name in names]),
    ):
        found = []
        for of, to in pairs:
            cases: dict[tuple[str, int], list[float]] = {}
            for cell in times:
                ratio = cell["values"]["ratios"].get(f"{of} / {to}")
                if ratio is not None:
                    cases.setdefault((cell["params"]["net"], cell["params"]["batch"]), []).append(ratio)
            found += [summarize(ratios).mean for ratios in cases.values()]
        if found:
            middle, least, most = (f"{_figure(v)}x" for v in (float(np.median(found)), min(found), max(found)))
            rows.append((text, middle, least, most, str(len(found))))
    sizes: Rows = [("file / float32 checkpoint", *_names(cell["params"]["net"] for cell in run.cells))]
    for kind in ("segment-int8-L16", "segment-int8-L64", *sweep.BASES):
        row = [kind]
        for net in sizes[0][1:]:
            cells = [
                cell
                for cell in run.select(task="tables", net=net, tables=kind)
                if cell["params"]["value"] in ("", "spline_component")
            ]
            values = cells[0]["values"] if cells else None
            row.append("" if values is None else f"{values['file_bytes'] / values['checkpoint_bytes']:.2f}x")
        sizes.append(tuple(row))
    return f"{markdown_table(rows)}\n\n{markdown_table(sizes)}"


def _side_rows(name: str, tables: Sequence[Mapping[str, Any]], times: Sequence[Mapping[str, Any]]) -> Rows:
    timed = [cell for cell in times if cell["params"]["net"] == name]
    batches = sorted({cell["params"]["batch"] for cell in timed})
    heads = ["ns, 1 row" if batch == 1 else f"ns, {batch} rows" for batch in batches]
    rows: Rows = [("tables", "mean error", "largest", *heads, "file", "of the checkpoint")]
    for kind in (*sweep.TIMED, *sweep.BASES):
        value = "spline_component" if kind.startswith("segment") else ""
        mine = [
            c
            for c in tables
            if (c["params"]["net"], c["params"]["tables"], c["params"]["value"]) == (name, kind, value)
        ]
        if not mine:
            continue
        relative = [
            [cell["values"]["in_range"][key] / cell["values"]["spread"] for cell in mine] for key in ("mae", "max")
        ]
        speed = []
        for batch in batches:
            arms = [c for c in timed if c["params"]["batch"] == batch and f"native {kind}" in c["values"]["arms"]]
            speed.append(_mean(_values(arms, "arms", f"native {kind}", "ns_an_edge")) if arms else "")
        size, of = mine[0]["values"]["file_bytes"], mine[0]["values"]["checkpoint_bytes"]
        errors = (f"{_mean(relative[0], 100)} %", f"{_mean(relative[1], 100)} %")
        rows.append((kind, *errors, *speed, f"{size:,}", f"{size / of:.2f}x of {of:,}"))
    return rows


def _error_rows(name: str, tables: Sequence[Mapping[str, Any]]) -> Rows:
    rows: Rows = [
        ("tables", "mean error in range", "95 %", "largest", "mean error out of range", "95 %", "largest", "file")
    ]
    mine = [cell for cell in tables if cell["params"]["net"] == name]
    kinds = _names(f"{c['params']['tables']} {c['params']['value']}".rstrip() for c in mine)
    for kind in sorted(kinds, key=_kind_order):
        cells = [c for c in mine if f"{c['params']['tables']} {c['params']['value']}".rstrip() == kind]
        row = [kind]
        for where in ("in_range", "out_of_range"):
            errors = _values(cells, where, "mae")
            row += [_mean(errors), _interval(errors), _mean(_values(cells, where, "max"))]
        rows.append((*row, f"{cells[0]['values']['file_bytes']:,}"))
    return rows


def _published_rows(run: Run) -> Rows:
    rows: Rows = [("tables", "published mean error", "here", "95 %")]
    for tables, published in _PUBLISHED_ERRORS.items():
        cells = run.select(task="tables", net="10-8", tables=tables, value="spline_component")
        if cells:
            errors = _values(cells, "in_range", "mae")
            rows.append((tables, f"{published:.3g}", _mean(errors), _interval(errors)))
    return rows if len(rows) > 1 else []


def _kind_order(kind: str) -> tuple[Any, ...]:
    """Sort basis tables first, then segment tables by what they hold, their codes and their samples."""
    tables, _, value = kind.partition(" ")
    if not tables.startswith("segment"):
        return (0, sweep.BASES.index(tables) if tables in sweep.BASES else 99)
    _, dtype, samples = tables.split("-")
    return (1, value != "spline_component", dtype, int(samples[1:]))


def _time_rows(cells: Sequence[Mapping[str, Any]]) -> Rows:
    rows: Rows = [("arm", "rows", "ms a call", "95 %", "ns an edge", "max error", "bytes in memory")]
    arms = _names(name for cell in cells for name in cell["values"]["arms"])
    arms = [name for name in arms if all(name in cell["values"]["arms"] for cell in cells)]
    for name in sorted(arms, key=lambda name: summarize(_values(cells, "arms", name, "ns_an_edge")).mean):
        times = _values(cells, "arms", name, "ms")
        first = cells[0]["values"]["arms"][name]
        rows.append(
            (
                name + (f" ({first['isa']})" if first["isa"] else ""),
                str(first["rows"]),
                _mean(times),
                _interval(times),
                _mean(_values(cells, "arms", name, "ns_an_edge")),
                f"{max(_values(cells, 'arms', name, 'max_error')):.2g}",
                f"{first['memory_bytes']:,}",
            )
        )
    return rows


def _array_rows(cells: Sequence[Mapping[str, Any]]) -> Rows:
    """Return a row a kind of table, a column a group of arrays."""
    first = [cell for cell in cells if cell["params"].get("seed", 0) == cells[0]["params"].get("seed", 0)]
    rows: Rows = [("tables", "codes or coefficients", "scales", "offsets", "base branch", "the rest", "file")]
    for cell in first:
        kind = f"{cell['params']['tables']} {cell['params'].get('value', '')}".rstrip()
        groups: dict[str, int] = dict.fromkeys(("codes", "scales", "offsets", "base", "rest"), 0)
        for role, nbytes in cell["values"]["arrays"].items():
            groups[_group(role)] += nbytes
        rows.append((kind, *(f"{n:,}" for n in groups.values()), f"{cell['values']['file_bytes']:,}"))
    return rows


def _group(role: str) -> str:
    kind, _, name = role.rpartition(" ")
    if kind.startswith("base") or role.endswith("base weight"):
        return "base"
    if name in ("q", "rows"):
        return "codes"
    if name == "scale":
        return "scales"
    return "offsets" if name == "offset" else "rest"


# --- out of range ---

_OOB = """
`clip_x` takes the value at the end of the table, `zero_spline` nothing, `model` what the trained model does; `closed`
and `half_open` say whether the last knot belongs to the domain. Rows are N(0, 1), once as drawn and once clipped to the
domain, which puts some inputs exactly on the last knot. A row is outside if some table of the network is asked beyond
its domain, on the border if none is and some table is asked exactly at its upper end, and inside otherwise. Tables are
segment-int8-L64; all errors are means over outputs, rows and seeds.

A policy is measured twice. Against the trained model: what the policy costs. Against its own definition, written anew
from the tensors in float64: whether the tables do what the policy says. Each row of the second table holds the error of
tables made for one policy against the definitions of all: an experiment tells two policies apart if the error in the
other's column is far larger than on the diagonal. `half_open` and `closed` under `clip_x` are the same function up to
one unit in the last place of the input, so no experiment can tell these two.
"""
_OOB_LAST = """
On the last network, tables of the spline alone with splines that end in zero, all policies are one function. That is
the only kind of network in LUT-KAN's published out-of-range experiment, so its equal rows say nothing about the
policies.
"""


def oob_page(run: Run) -> str:
    """Write the page of the out-of-range matrix."""
    names = _names(cell["params"]["net"] for cell in run.cells)
    parts = [*_head("Beyond the tables", "oob"), _text(_OOB), run_markdown(run)]
    parts += ["## Against the trained model", markdown_table(_model_rows(run, names))]
    parts.append("## Against the definitions")
    for name in names:
        mine = [cell for cell in run.cells if cell["params"]["net"] == name]
        parts += [f"**{name}**: mean error on border and outside rows", markdown_table(_definition_rows(mine))]
        pairs = _pairs(mine)
        parts.append(f"Told apart: {sum(pairs.values())} of {len(pairs)} pairs{_missed(pairs)}.")
    parts.append(_text(_OOB_LAST))
    return "\n\n".join(parts) + "\n"


def _model_rows(run: Run, names: Sequence[str]) -> Rows:
    rows: Rows = [
        ("network", "policy", "inputs outside", "inside", "largest", "border", "largest", "outside", "largest")
    ]
    for name in names:
        for policy in oob.POLICIES:
            cells = run.select(net=name, policy=policy)
            if not cells:
                continue
            row = [name, policy, f"{100 * summarize(_values(cells, 'out_share')).mean:.1f} %"]
            for group in oob.GROUPS:
                here = [cell for cell in cells if group in cell["values"]["against_model"]]
                if here:
                    largest = max(_values(here, "against_model", group, "max"))
                    row += [_mean(_values(here, "against_model", group, "mae")), f"{largest:.2g}"]
                else:
                    row += ["no rows", ""]
            rows.append(tuple(row))
    return rows


def _beyond(cell: Mapping[str, Any], policy: str) -> float:
    """Return the mean error against a definition on rows at and beyond the border."""
    found, rows = cell["values"]["against_definition"][policy], cell["values"]["rows"]
    groups = [group for group in ("border", "outside") if group in found]
    return sum(found[g]["mae"] * rows[g] for g in groups) / sum(rows[g] for g in groups)


def _definition_rows(cells: Sequence[Mapping[str, Any]]) -> Rows:
    rows: Rows = [("tables for", *oob.POLICIES)]
    for policy in oob.POLICIES:
        mine = [cell for cell in cells if cell["params"]["policy"] == policy]
        if mine:
            errors = [f"{summarize([_beyond(c, other) for c in mine]).mean:.2g}" for other in oob.POLICIES]
            at = oob.POLICIES.index(policy)
            errors[at] = f"**{errors[at]}**"
            rows.append((policy, *errors))
    return rows


def _pairs(cells: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], bool]:
    """Tell for each pair of policies whether every seed tells them apart."""
    found: dict[tuple[str, str], bool] = {}
    for cell in cells:
        policy = cell["params"]["policy"]
        for other in oob.POLICIES:
            if other != policy:
                pair = (min(policy, other), max(policy, other))
                found[pair] = found.get(pair, True) and oob.tells_apart(cell["values"], policy, other)
    return found


def _missed(pairs: Mapping[tuple[str, str], bool]) -> str:
    missed = [f"{a} and {b}" for (a, b), told in pairs.items() if not told]
    if not missed:
        return ""
    return "; not " + "; ".join(missed) if len(missed) < len(pairs) else ""


# --- memory ---

_MEMORY = """
Bytes of one network as every kind of table. The checkpoint is the state_dict as a safetensors file, float32, with the
knots of every input; the parameters are its trained numbers alone. A file holds all that is needed to predict, without
golden rows and figures here. `basis-8` is the spec `int8`, `basis-32` the spec `float32`. In memory, runtimes may keep
tables in another form than the file: the native one lays basis rows out for the instruction set.
"""


def memory_page(run: Run) -> str:
    """Write the page on bytes."""
    names = _names(cell["params"]["net"] for cell in run.cells)
    parts = [*_head("Bytes", "memory"), _text(_MEMORY), run_markdown(run)]
    parts += ["## Files beside checkpoints", markdown_table(_size_rows(run, names))]
    for name in names:
        cells = run.select(net=name)
        checkpoint, parameters = (cells[0]["values"][f"{key}_bytes"] for key in ("checkpoint", "parameter"))
        parts += [
            f"## {name}",
            f"{cells[0]['values']['edges']:,} edges; checkpoint {checkpoint:,} bytes, parameters {parameters:,}.",
            markdown_table(_array_rows(cells)),
            markdown_table(_resident_rows(cells)),
        ]
    return "\n\n".join(parts) + "\n"


def _size_rows(run: Run, names: Sequence[str]) -> Rows:
    kinds = _names(cell["params"]["tables"] for cell in run.cells)
    rows: Rows = [("file / checkpoint", *names)]
    for kind in kinds:
        row = [kind]
        for name in names:
            cells = run.select(net=name, tables=kind)
            size = cells[0]["values"] if cells else None
            row.append("" if size is None else f"{size['file_bytes'] / size['checkpoint_bytes']:.3g}x")
        rows.append(tuple(row))
    return rows


def _resident_rows(cells: Sequence[Mapping[str, Any]]) -> Rows:
    runtimes = _names(name for cell in cells for name in cell["values"]["memory_bytes"])
    rows: Rows = [("tables", "file / parameters", "bytes an edge", *(f"in memory, {name}" for name in runtimes))]
    for cell in cells:
        values = cell["values"]
        rows.append(
            (
                cell["params"]["tables"],
                f"{values['file_bytes'] / values['parameter_bytes']:.3g}x",
                f"{values['table_bytes'] / values['edges']:.1f}",
                *(f"{values['memory_bytes'][name]:,}" for name in runtimes),
            )
        )
    return rows


# --- cold start ---

_COLDSTART = """
Two new processes take turns: one imports numpy, the other also imports lutkan, loads the file and predicts one row. The
difference of their whole run times, from start to exit, is asked to stay below {asked:g} ms, and neither PyTorch nor
Numba may be imported unless the runtime is Numba's. Import, load and first row are medians as the process itself sees
them.
"""
_LOADED = """
In one process that has answered before: a row with the model loaded once, and a row with the file opened, checked and
packed for it. What is loaded each time pays for the tables' size; what is loaded once does not.
"""


def coldstart_page(run: Run) -> str:
    """Write the page on starting and loading."""
    parts = [*_head("Cold start", "coldstart"), _text(_COLDSTART.format(asked=1000 * coldstart.ASKED))]
    parts += [_clock(run), run_markdown(run), "## From the start of a process to its first answer"]
    rows: Rows = [
        ("network, tables, runtime", "ms above numpy", "quartiles", "import", "load", "first row", "heavy", "")
    ]
    for cell in run.cells:
        v = cell["values"]
        low, high = (1000 * s for s in v["above_numpy_quartiles_s"])
        parts_ms = (f"{1000 * v[f'{part}_median_s']:.1f}" for part in ("import", "load", "predict"))
        verdict = "met" if v["above_numpy_s"] < coldstart.ASKED else "**missed**"
        rows.append(
            (
                _start_label(cell),
                f"{1000 * v['above_numpy_s']:.1f}",
                f"{low:.1f} to {high:.1f}",
                *parts_ms,
                ", ".join(v["heavy"]) or "none",
                verdict if cell["params"]["runtime"] != "numba" else "not asked",
            )
        )
    parts += [markdown_table(rows), "## Loaded for every row, and loaded once", _text(_LOADED)]
    rows = [("network, tables, runtime", "us a row, loaded once", "us a row, loaded each time", "times", "file")]
    for cell in run.cells:
        v = cell["values"]
        once, each = v["predict_s"], v["load_and_predict_s"]
        figures = (microseconds(once), microseconds(each), f"{each / once:,.0f}x", f"{v['file_bytes']:,}")
        rows.append((_start_label(cell), *figures))
    return "\n\n".join([*parts, markdown_table(rows)]) + "\n"


def _start_label(cell: Mapping[str, Any]) -> str:
    return f"{cell['params']['net']}, {cell['params']['tables']}, {cell['params']['runtime']}"


def quant_run_page(run: Run) -> str:
    """Write the page of a comparison of quantization methods."""
    return quant_page(run, _head("Quantization", "quant"), run_markdown(run))


#: Pages by experiment.
PAGES: dict[str, Callable[[Run], str]] = {
    "sweep": sweep_page,
    "oob": oob_page,
    "memory": memory_page,
    "coldstart": coldstart_page,
    "dos": dos_page,
    "quant": quant_run_page,
}
