"""The page on the study: every figure comes from a result file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from lutkan.errors import InputError
from lutkan.lab.experiment import Run
from lutkan.lab.results import markdown_table, microseconds

__all__ = ["MOST_CHANGED", "MOST_F1_LOST", "page"]

#: What was asked for: F1 that 8 bits may lose, and decisions in 10 000 that 16 bits may change.
MOST_F1_LOST = 0.0005
MOST_CHANGED = 1.0
# Rounding of a difference of two F1 scores.
_ROUNDING = 1e-12

_INTRODUCTION = """
A pykan-style network is trained to tell denial of service from normal traffic, compiled under every precision, and
each decision on the test side is compared with that of the same network in float64. A decision is the sign of the
output; the score beside it is the probability of an attack, 1 / (1 + exp(-output)). All seeds stand side by side, and
every changed decision is listed.
"""
_BELOW = """
One decision moves F1 by about {step}, so the first bar leaves room for a handful of decisions where the test side is
large, and for hardly any where it has a few hundred rows.
"""
_NSL_KDD = """
**NSL-KDD** (Tavallaee, Bagheri, Lu, Ghorbani 2009) keeps the split that it is published with: the training file
that is named above, and KDDTest+ whole, except for the classes that a task leaves out. No row of it is kept among
the results, only counts, row numbers and scores.
"""
_SAMPLE = """
**The sample in the schema of CICIDS2017** (Sharafaldin, Lashkari, Ghorbani 2018) merges several DoS tools into one
class and holds few flows: it shows that the way works on flows of CICFlowMeter, and is **not** the task of DoS Hulk
against BENIGN. That one runs with the original Wednesday file: `lutkan lab dos Wednesday-workingHours.pcap_ISCX.csv
--attack "DoS Hulk" --protocol paper`. No row of the sample is kept here either.
"""
_CLEAN = """
**Cleaning.** Rows with NaN or infinities are left out. Of equal rows the first stays; a test file that is published as
such stays whole, and training rows that equal one of its rows once scaled are left out instead. Features are
`sign(x) log(1 + |x|)`, scaled to [-1, 1] by the smallest and largest of the training side; words become a column each;
columns that are constant on the training side are left out.
"""
_PAPER = """
**Cleaning** as in the study of DoS Hulk (arXiv 2601.08044, the revision of its code): as many normal rows as attacks,
drawn from the seed, equal rows and all; what is not finite takes the median, values are clipped at three interquartile
ranges beyond the quartiles and standardised, all fitted on the training side.
"""
_METHOD = """
**Network.** {widths}; G = 5 intervals on [-1, 1], k = 3, a SiLU base; the tensors that pykan saves. {training} on
binary cross-entropy. The threshold is never tuned.

**Tables.** Calibrated on {calibration} training rows at most. The segment tables keep the contract of LUT-KAN, with
what the model does beyond the grid. Bytes are those of the whole file, manifest and golden rows included; the
checkpoint is the state_dict as safetensors, which for pykan holds tensors of symbolic edges too; parameters are the
trained numbers alone in float32.

**Inputs beyond the grid.** "beyond the core" is the share of a layer's inputs outside [-1, 1], "beyond the knots"
outside the extended knots at -2.2 and 2.2, where all splines are zero and the base branch goes on alone.

**Speed.** One thread, all arms in turns in one process, rows of the test side; a time is the median over the rounds.
"Cox-de Boor an edge" is how the LUT-KAN paper computes its B-spline baseline, "LUT-KAN layout" its look-up; "numba
B-spline" and "numpy basis + GEMM" evaluate only the four splines that are not zero at an input, once for all edges.
"""


def page(run: Run) -> str:
    """Return docs/benchmarks/dos.md.

    Raises
    ------
    InputError
        The run holds no trained network.
    """
    tasks = _tasks(run)
    parts = [
        "# Intrusion detection\n",
        "<!-- Written by benchmarks/pages.py from benchmarks/results/dos.jsonl; do not edit this page. -->\n",
        *_paragraphs(_INTRODUCTION),
        "## What was asked for\n",
        _bars(run, tasks),
        *_paragraphs(_BELOW.format(step=_one_decision(run, tasks))),
    ]
    for data, attack in tasks:
        parts += [f"## {_title(run, data, attack)}\n", *_task(run, data, attack)]
    return "\n".join([*parts, "## How it was done\n", *_paragraphs(_method(run, tasks)), *_machine(run)])


# ----------------------------------------------------------------------------------------------------------- the cells


def _tasks(run: Run) -> list[tuple[str, str]]:
    found = list(dict.fromkeys((c["params"]["data"], c["params"]["attack"]) for c in run.select(part="model")))
    if not found:
        raise InputError("no trained network among the results", "a result file of `lutkan lab dos`")
    return found


def _models(run: Run, data: str, attack: str) -> list[dict[str, Any]]:
    return [cell["values"] for cell in run.select(part="model", data=data, attack=attack)]


def _specs(run: Run, data: str, attack: str) -> list[str]:
    """Return the precisions, segment tables last: a run that was added to has its cells in another order."""
    found = dict.fromkeys(c["params"]["spec"] for c in run.select(part="spec", data=data, attack=attack))
    return sorted(found, key=lambda spec: spec.startswith("segment"))


def _seeds(run: Run, data: str, attack: str) -> list[int]:
    return [cell["params"]["seed"] for cell in run.select(part="model", data=data, attack=attack)]


def _values(run: Run, data: str, attack: str, spec: str, seed: int) -> dict[str, Any] | None:
    found = run.select(part="spec", data=data, attack=attack, spec=spec, seed=seed)
    return found[0]["values"] if found else None


def _test_rows(run: Run, data: str, attack: str) -> int:
    return sum(_models(run, data, attack)[0]["data"]["test"].values())


def _title(run: Run, data: str, attack: str) -> str:
    report = _models(run, data, attack)[0]["data"]
    classes = list(report["attack_classes"])
    many = (
        f"{len(classes)} classes of denial of service" if attack == "dos" and len(classes) > 1 else ", ".join(classes)
    )
    return f"{data}: {many} against {', '.join(report['normal_classes'])}"


# ------------------------------------------------------------------------------------------------------------ the page


def _paragraphs(text: str) -> list[str]:
    fill = textwrap.TextWrapper(120, break_long_words=False, break_on_hyphens=False).fill
    return [fill(" ".join(paragraph.split())) + "\n" for paragraph in text.strip().split("\n\n")]


def _table(rows: Iterable[Sequence[str]]) -> str:
    return markdown_table([tuple(row) for row in rows]) + "\n"


def _bars(run: Run, tasks: Sequence[tuple[str, str]]) -> str:
    seeds = list(dict.fromkeys(seed for task in tasks for seed in _seeds(run, *task)))
    rows = [("bar", "data", *(f"seed {seed}" for seed in seeds), "")]
    for words, spec in (
        (f"int8: F1 within {MOST_F1_LOST} of the float model", "int8"),
        (f"int16: at most {MOST_CHANGED:g} changed decision in 10 000", "int16"),
    ):
        for data, attack in tasks:
            found = [_values(run, data, attack, spec, seed) for seed in seeds]
            count = _test_rows(run, data, attack)
            cells, met = [], []
            for values in found:
                if values is None:
                    cells.append("not measured")
                elif spec == "int8":
                    cells.append(_signed(-values["f1_lost"]))
                    met.append(abs(values["f1_lost"]) <= MOST_F1_LOST + _ROUNDING)
                else:
                    cells.append(f"{values['changed_decisions']} of {count:,}")
                    met.append(values["changed_decisions"] <= MOST_CHANGED * count / 10_000 + _ROUNDING)
            verdict = "not measured" if not met else ("**met**" if all(met) else "**not met**")
            rows.append((words, f"{data}, {attack}", *cells, verdict))
    return _table(rows)


def _signed(value: float) -> str:
    """Write a difference of two F1 scores.

    Examples
    --------
    >>> _signed(-0.0), _signed(-0.00011)
    ('0', '-0.00011')
    """
    return f"{value:+.5f}" if value else "0"


def _one_decision(run: Run, tasks: Sequence[tuple[str, str]]) -> str:
    """Say what one decision more or less does to F1: about 1 / (2 * attacks)."""
    steps = [1.0 / (2 * _models(run, *task)[0]["data"]["test"]["attack"]) for task in tasks]
    low, high = f"{min(steps):.0e}", f"{max(steps):.0e}"
    return low if low == high else f"{low} to {high}"


def _task(run: Run, data: str, attack: str) -> list[str]:
    models, seeds = _models(run, data, attack), _seeds(run, data, attack)
    parts = [
        *_paragraphs(_in_short(run, data, attack)),
        _data_lines(models[0]["data"]),
        "### The float model\n",
        _float_table(models, seeds),
    ]
    parts += [_recall_table(models), "### Precisions\n", _spec_table(run, data, attack), "### Confusion matrices\n"]
    parts += [_confusion_table(run, data, attack), "### Changed decisions\n", *_changed(run, data, attack)]
    parts += ["### Inputs beyond the grid\n", _outside_table(models)]
    for cell in run.select(part="timing", data=data, attack=attack):
        batch = cell["params"]["batch"]
        heading = "1 row a call" if batch == 1 else f"{batch} rows a call"
        parts += [f"### Speed, {heading}\n", *_speed(cell["values"])]
    return parts


def _in_short(run: Run, data: str, attack: str) -> str:
    """Say in two sentences what the precisions change and what a row takes."""
    changes = []
    for spec in _specs(run, data, attack):
        if spec in ("int16", "int8", "int4", "segment-int8-L16"):
            cells = [cell["values"] for cell in run.select(part="spec", data=data, attack=attack, spec=spec)]
            most = max(values["changed_decisions"] for values in cells)
            changes.append(f"{spec} {most:,} in {max(values['file_bytes'] for values in cells):,} bytes")
    text = f"Of {_test_rows(run, data, attack):,} decisions a seed, at most so many change: {', '.join(changes)}."
    for cell in run.select(part="timing", data=data, attack=attack, batch=1):
        names = ("native int8", "native segment-int8-L16", "numba B-spline", "numpy basis + GEMM", "pykan speed")
        arms = {arm["name"]: arm["median_s"] for arm in cell["values"]["arms"]}
        times = ", ".join(f"{name} {microseconds(arms[name])}" for name in names if name in arms)
        text += f" Microseconds for one row: {times}."
    return text


def _data_lines(report: dict[str, Any]) -> str:
    def counted(classes: dict[str, int]) -> str:
        return ", ".join(f"{name} {count:,}" for name, count in classes.items())

    lines = [
        f"- files: {', '.join(report['files'])}; {report['rows']:,} rows",
        f"- attack: {counted(report['attack_classes'])}; normal: {counted(report['normal_classes'])}; "
        f"other classes, left out: {report['rows_of_other_classes']:,}",
    ]
    words = {
        "rows_not_finite": "rows with NaN or infinities, left out",
        "duplicates": "equal rows, left out",
        "duplicates_of_other_label": "of them with another label",
        "equal_test_rows": "equal rows in the test file, kept",
        "training_rows_equal_to_test_rows": "training rows equal to a test row, left out",
        "cells_filled_with_medians": "cells filled with medians",
        "test_rows_that_training_holds": "test rows that the training side holds too",
    }
    lines.append("- " + "; ".join(f"{text}: {report[key]:,}" for key, text in words.items() if key in report))
    lacking = report.get("words_that_training_lacks")
    if lacking:
        lines.append("- words of the test side that training lacks: " + counted(lacking))
    if report.get("constant_features"):
        lines.append("- constant, left out: " + ", ".join(report["constant_features"]))
    train, test = report["train"], report["test"]
    lines.append(
        f"- split: {report['split']}; training {train['normal']:,} normal and {train['attack']:,} attacks, test "
        f"{test['normal']:,} and {test['attack']:,}; {report['features']} features"
    )
    filled = (textwrap.fill(line, 120, subsequent_indent="  ", break_on_hyphens=False) for line in lines)
    return "\n".join(filled) + "\n"


_FIGURES = ("accuracy", "precision", "recall", "f1", "auc", "pr_auc")
_HEADS = ("accuracy", "precision", "recall", "F1", "AUC", "PR-AUC")


def _float_table(models: Sequence[dict[str, Any]], seeds: Sequence[int]) -> str:
    rows: list[tuple[str, ...]] = [
        ("seed", *_HEADS, "last loss", "rows within 0.1 of the threshold", "changed by float32 in PyTorch")
    ]
    for seed, model in zip(seeds, models, strict=True):
        rows.append(
            (
                str(seed),
                *(f"{model[name]:.{6 if 'auc' in name else 5}f}" for name in _FIGURES),
                f"{model['loss'][1]:.2g}",
                str(model["logits"]["rows_within_0.1"]),
                str(model["torch_float32"]["changed_decisions"]),
            )
        )
    return _table(rows)


def _recall_table(models: Sequence[dict[str, Any]]) -> str:
    """Return the share of each label that is called an attack, where there are more than two labels."""
    labels = list(models[0]["called_attacks_by_label"])
    if len(labels) <= 2:
        return ""
    trained = {**models[0]["data"]["attack_classes"], **models[0]["data"]["normal_classes"]}
    rows = [("label", "test rows", "called attacks, by seed")]
    for label in sorted(labels, key=lambda label: -models[0]["called_attacks_by_label"][label][0]):
        called = [model["called_attacks_by_label"].get(label, [0, 0]) for model in models]
        rows.append((label, f"{called[0][0]:,}", ", ".join(f"{c[1]:,}" for c in called)))
    unseen = [label for label in labels if trained.get(label) == models[0]["called_attacks_by_label"][label][0]]
    note = ""
    if unseen:
        note = (
            "\n"
            + _paragraphs(f"No training row has the labels {', '.join(unseen)}: these attacks are new to the network.")[
                0
            ]
        )
    return _table(rows) + note


def _spec_table(run: Run, data: str, attack: str) -> str:
    models = _models(run, data, attack)
    spreads = dict(zip(_seeds(run, data, attack), (m["logits"]["spread"] for m in models), strict=True))
    checkpoint, parameters = models[0]["checkpoint_bytes"], models[0]["parameter_bytes"]
    rows = [
        (
            "spec", "changed decisions, by seed", "F1 by seed", "F1 gained or lost, by seed", "mean error", "max error",
            "file", "tables in it", "file / checkpoint", "file / parameters",
        )
    ]  # fmt: skip
    rows.append(
        ("float64", "", ", ".join(f"{m['f1']:.5f}" for m in models), "", "", "", "", "", f"1.00 of {checkpoint:,}",
         f"1.00 of {parameters:,}")
    )  # fmt: skip
    for spec in _specs(run, data, attack):
        found = run.select(part="spec", data=data, attack=attack, spec=spec)
        cells = [cell["values"] for cell in found]
        relative = [
            [cell["values"][name] / spreads[cell["params"]["seed"]] for cell in found]
            for name in ("mean_error", "max_error")
        ]
        size = max(values["file_bytes"] for values in cells)
        rows.append(
            (
                spec,
                ", ".join(str(values["changed_decisions"]) for values in cells),
                ", ".join(f"{values['f1']:.5f}" for values in cells),
                ", ".join(_signed(-values["f1_lost"]) for values in cells),
                f"{100 * sum(relative[0]) / len(cells):.4f} %",
                f"{100 * max(relative[1]):.3f} %",
                f"{size:,}",
                f"{max(values['table_bytes'] for values in cells):,}",
                f"{size / checkpoint:.2f}",
                f"{size / parameters:.2f}",
            )
        )
    note = "Errors are |artifact - model| of the output before the threshold, in per cent of its standard deviation."
    return _table(rows) + "\n" + note + "\n"


def _confusion_table(run: Run, data: str, attack: str) -> str:
    def text(values: dict[str, Any] | None) -> str:
        return " / ".join(f"{v:,}" for v in values["confusion"].values()) if values else "not measured"

    seeds = _seeds(run, data, attack)
    rows = [("tn / fp / fn / tp", *(f"seed {seed}" for seed in seeds))]
    rows.append(("float64", *(text(model) for model in _models(run, data, attack))))
    for spec in _specs(run, data, attack):
        rows.append((spec, *(text(_values(run, data, attack, spec, seed)) for seed in seeds)))
    figures = [("accuracy / precision / recall / AUC / PR-AUC", *(f"seed {seed}" for seed in seeds))]
    for spec in _specs(run, data, attack):
        line = []
        for seed in seeds:
            values = _values(run, data, attack, spec, seed)
            names = {"accuracy": 5, "precision": 5, "recall": 5, "auc": 6, "pr_auc": 6}
            cells = (f"{values[name]:.{digits}f}" for name, digits in names.items()) if values else ("not measured",)
            line.append(" / ".join(cells))
        figures.append((spec, *line))
    return _table(rows) + "\n" + _table(figures)


def _changed(run: Run, data: str, attack: str) -> list[str]:
    """List what every precision of 8 bits and more calls otherwise; that of fewer bits is counted."""
    rows = [("spec", "seed", "test row", "label", "float score", "score", "float output", "output")]
    left: list[str] = []
    for cell in run.select(part="spec", data=data, attack=attack):
        spec, seed = cell["params"]["spec"], str(cell["params"]["seed"])
        changed = cell["values"]["changed"]
        if _few_bits(spec):
            left += [f"{len(changed)} of {spec} with seed {seed}"] if changed else []
            continue
        for one in changed:
            rows.append(
                (
                    spec, seed, str(one["row"]), one["label"], f"{one['float_score']:.4f}", f"{one['score']:.4f}",
                    f"{one['float_logit']:+.4f}", f"{one['logit']:+.4f}",
                )
            )  # fmt: skip
    parts = [_table(rows)] if len(rows) > 1 else ["None at 8 bits and more.\n"]
    if left:
        parts += _paragraphs(f"In the result file alone, with their scores: {', '.join(left)}.")
    return parts


def _few_bits(spec: str) -> bool:
    return spec.startswith(("int2", "int3", "int4", "w2", "w3", "w4"))


def _outside_table(models: Sequence[dict[str, Any]]) -> str:
    rows = [("layer", "inputs", "beyond the core, by seed", "beyond the knots, by seed", "from", "to")]
    for number, layer in enumerate(models[0]["layers"]):
        of_seeds = [model["layers"][number] for model in models]
        rows.append(
            (
                f"{number}" + (" (features)" if number == 0 else " (hidden)"),
                str(layer["width"]),
                ", ".join(f"{100 * one['outside_core']:.1f} %" for one in of_seeds),
                ", ".join(f"{100 * one['outside_knots']:.1f} %" for one in of_seeds),
                f"{min(one['min'] for one in of_seeds):.3g}",
                f"{max(one['max'] for one in of_seeds):.3g}",
            )
        )
    return _table(rows)


def _speed(values: dict[str, Any]) -> list[str]:
    rows = [("arm", "us a call", "quartiles", "ns an edge", "max error", "bytes in memory", "file")]
    for arm in sorted(values["arms"], key=lambda arm: arm["ns_an_edge"]):
        name = arm["name"] + (f" ({arm['isa']})" if arm["isa"] else "")
        rows.append(
            (
                f"{name}, {arm['rows']} rows" if arm["batch_reduced"] else name,
                microseconds(arm["median_s"]),
                f"{microseconds(arm['quartile_low_s'])} to {microseconds(arm['quartile_high_s'])}",
                f"{arm['ns_an_edge']:.3g}",
                f"{arm['max_error']:.2g}",
                f"{arm['memory_bytes']:,}",
                "" if arm["file_bytes"] is None else f"{arm['file_bytes']:,}",
            )
        )
    clock = ["Processor time, since others used the machine.\n"] if values["clock"] == "cpu" else []
    return [_table(rows), *clock, *(f"Skipped: {one['name']}: {one['reason']}.\n" for one in values["skipped"])]


def _method(run: Run, tasks: Sequence[tuple[str, str]]) -> str:
    parameters = run.manifest["parameters"]
    files = {name.lower() for names in parameters["data"].values() for name in names}
    about = [_NSL_KDD] if any(name.startswith("kddt") for name in files) else []
    about += [_SAMPLE] if any(name.startswith("cicids2017_sample") for name in files) else []
    about.append(_CLEAN if parameters["protocol"] == "clean" else _PAPER)
    recipe = parameters["recipe"]
    widths = ", ".join(
        "-".join(map(str, _models(run, *task)[0]["widths"])) + f" for {task[0]} {task[1]}" for task in tasks
    )
    schedule = ", a cosine schedule" if recipe["cosine"] else ""
    batch = f"batches of {recipe['batch']}" if recipe["batch"] else "all rows at once"
    method = "AdamW" if recipe["weight_decay"] else "Adam"
    training = (
        f"{method}, {recipe['learning_rate']:g}, weight decay {recipe['weight_decay']:g}{schedule}, {batch}, "
        f"{recipe['epochs']} epochs{f' and {steps} steps at least' if (steps := recipe['steps']) else ''},"
    )
    rest = _METHOD.format(widths=widths, training=training, calibration=parameters["calibration_rows"])
    return "\n".join([*about, rest])


def _version(run: dict[str, Any]) -> str:
    machine = run["machine"]
    changes = " with local changes" if machine["dirty"] else ""
    return f"commit {(machine['commit'] or 'unknown')[:12]}{changes}, {run['date']}"


def _machine(run: Run) -> list[str]:
    manifest = run.manifest
    machine = manifest["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    lines = [
        f"- command: `{manifest['command']}`",
        f"- {machine['cpu']}; {' '.join(machine['isa_flags'])}",
        f"- {machine['platform']}; Python {machine['python']}, {packages}",
        f"- lutkan {machine['lutkan']}, {_version(manifest)}; seeds {', '.join(map(str, manifest['seeds']))}",
        *(f"- went on with {_version(one)}: `{one['command']}`" for one in run.resumed),
    ]
    for name, files in manifest["parameters"]["data"].items():
        lines += [f"- {name}/{file}: sha256 {digest[:16]}..." for file, digest in files.items()]
    return ["\n".join(lines) + "\n"]
