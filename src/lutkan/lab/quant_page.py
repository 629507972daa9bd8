"""The quantization tables as a Markdown page, and what was asked of them, met or missed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutkan.lab.experiment import Run
from lutkan.lab.quant import DECISIONS, PTQ, QAT, ROWS
from lutkan.lab.results import markdown_table
from lutkan.lab.trained import FAMILIES

__all__ = ["Verdict", "quant_page", "verdicts"]

_PRESET = "QuantKAN preset (our re-implementation)"
_NAMES = {"quantkan-uniform": _PRESET, "quantkan-gptq": f"{_PRESET}, GPTQ a branch", "auto": "auto (the default)"}
_TITLES = {"digits": "Digits", "mnist": "MNIST"}


@dataclass(frozen=True)
class Verdict:
    """One thing that was asked.

    Attributes
    ----------
    line : str
        Its number: "P1", ...
    asked : str
    found : str
        The figures, worst family last.
    met : bool or None
        None where the run lacks what it needs.
    """

    line: str
    asked: str
    found: str
    met: bool | None

    @property
    def word(self) -> str:
        """met, missed, or not measured."""
        return "not measured" if self.met is None else "met" if self.met else "missed"


class _Table:
    """Values by family and seed."""

    def __init__(self, cells: Iterable[dict[str, Any]], data: str) -> None:
        self.by: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
        for cell in cells:
            p = cell["params"]
            if p["data"] == data:
                self.by.setdefault((p["family"], p["row"], p["method"]), {})[p["seed"]] = cell["values"]
        self.families = [f for f in FAMILIES if any(key[0] == f for key in self.by)]
        # Those of the table; of some others there is the default method alone.
        self.rows = [r for r in ROWS if any(key[1] == r and key[2] != "auto" for key in self.by)]

    def values(self, family: str, row: str, method: str, what: str) -> dict[int, float]:
        return {seed: float(v[what]) for seed, v in self.by.get((family, row, method), {}).items() if what in v}

    def mean(self, family: str, row: str, method: str, what: str) -> float:
        found = list(self.values(family, row, method, what).values())
        return float(np.mean(found)) if found else float("nan")

    def paired(self, family: str, row: str, method: str, other: str, what: str = "accuracy") -> float:
        """Mean difference `method - other` over the seeds that both have."""
        a, b = self.values(family, row, method, what), self.values(family, row, other, what)
        both = sorted(set(a) & set(b))
        return float(np.mean([a[s] - b[s] for s in both])) if both else float("nan")

    def methods(self, row: str) -> list[str]:
        return [m for m in (*PTQ, *QAT) if any(key[1:] == (row, m) for key in self.by)]


def verdicts(run: Run) -> list[Verdict]:
    """Compare a run with what was asked: digits, and C6 of both data sets."""
    t = _Table(run.cells, "digits")
    found: list[Verdict] = []

    def line(name: str, asked: str, figures: dict[str, float], passes: Callable[[float], bool], form: str) -> None:
        known = {key: value for key, value in figures.items() if not np.isnan(value)}
        met = None if not known else all(passes(value) for value in known.values())
        missed = [f"{key} {value:{form}}" for key, value in known.items() if not passes(value)]
        spread = f"{min(known.values()):{form}} to {max(known.values()):{form}}" if known else "nothing"
        found.append(Verdict(name, asked, f"{spread}{'; missed by ' + ', '.join(missed) if missed else ''}", met))

    def over(value: Callable[..., float], *axes: Sequence[str]) -> dict[str, float]:
        figures: dict[str, float] = {}
        for family in t.families:
            if not axes:
                figures[family] = value(family)
            elif len(axes) == 1:
                figures |= {f"{family} {a}": value(family, a) for a in axes[0]}
            else:
                figures |= {f"{family} {a} {b}": value(family, a, b) for a in axes[0] for b in axes[1]}
        return figures

    preset, own = "quantkan-uniform", "uniform"
    plus = "+.2f"
    integers = {
        f"{name} {family} {row}": 100 * table.mean(family, row, "auto", "decision_difference")
        for name, table in ((d, _Table(run.cells, d)) for d in _TITLES)
        for family in table.families
        for row in DECISIONS
    }
    line(
        "C6",
        "decisions of integers and fake quantization that differ, W8A8 and W4A8, both data sets: at most 0.1 %",
        integers,
        lambda v: v <= 0.1,
        ".3f",
    )
    line(
        "P1",
        "preset W8A8: drop at most 0.3",
        over(lambda f: t.mean(f, "w8a8", preset, "drop")),
        lambda v: v <= 0.3 + 1e-9,
        plus,
    )
    line(
        "P2",
        "preset and its GPTQ W4A4: drop at most 0.8",
        over(lambda f, m: t.mean(f, "w4a4", m, "drop"), (preset, "quantkan-gptq")),
        lambda v: v <= 0.8 + 1e-9,
        plus,
    )
    line(
        "P3",
        "GPTQ at least uniform, both with the preset's inputs: W3A3, W2A8",
        over(lambda f, r: t.paired(f, r, "quantkan-gptq", preset), ("w3a3", "w2a8")),
        lambda v: v >= -1e-9,
        plus,
    )
    line(
        "P3",
        "GPTQ at least uniform, both with searched inputs: W3A3, W2A8",
        over(lambda f, r: t.paired(f, r, "gptq", own), ("w3a3", "w2a8")),
        lambda v: v >= -1e-9,
        plus,
    )
    line(
        "P3",
        "GPTQ W2A8 at least 96 %",
        over(lambda f, m: t.mean(f, "w2a8", m, "accuracy"), ("quantkan-gptq", "gptq")),
        lambda v: v >= 96.0,
        ".2f",
    )
    for base, text in ((preset, "the preset"), (own, "uniform with the same inputs")):
        line(
            "P4",
            f"AdaRound, BRECQ at least {text}: W3A3, W2A8",
            over(lambda f, r, m, base=base: t.paired(f, r, m, base), ("w3a3", "w2a8"), ("adaround", "brecq")),
            lambda v: v >= -1e-9,
            plus,
        )
    line(
        "P4",
        "AWQ, SmoothQuant within 0.5 of uniform at W4A4",
        over(lambda f, m: t.paired(f, "w4a4", m, own), ("awq", "smoothquant")),
        lambda v: v >= -0.5 - 1e-9,
        plus,
    )
    line(
        "P4",
        "HAWQ-V2 at 3 bits in the mean at least flat 3 bits (GPTQ both, A3)",
        over(lambda f: t.paired(f, "w3a3", "hawq-v2", "gptq")),
        lambda v: v >= -1e-9,
        plus,
    )
    line(
        "P4",
        "data-free (zeroq) W4A4: drop at most 1.5",
        over(lambda f: t.mean(f, "w4a4", "zeroq", "drop")),
        lambda v: v <= 1.5 + 1e-9,
        plus,
    )
    line(
        "P4",
        "PD-Quant at least the preset at W3A3",
        over(lambda f: t.paired(f, "w3a3", "pd-quant", preset)),
        lambda v: v >= -1e-9,
        plus,
    )
    line(
        "Q1",
        "all QAT W4A4: drop at most 1.0",
        over(lambda f, m: t.mean(f, "w4a4", m, "drop"), QAT),
        lambda v: v <= 1.0 + 1e-9,
        plus,
    )
    line(
        "Q2",
        "all QAT W3A3: drop at most 2.5",
        over(lambda f, m: t.mean(f, "w3a3", m, "drop"), QAT),
        lambda v: v <= 2.5 + 1e-9,
        plus,
    )
    line(
        "Q2",
        "DSQ W3A3: drop at most 1.5",
        over(lambda f: t.mean(f, "w3a3", "dsq", "drop")),
        lambda v: v <= 1.5 + 1e-9,
        plus,
    )
    line(
        "Q3",
        "all QAT W2A2 at least 90 %",
        over(lambda f, m: t.mean(f, "w2a2", m, "accuracy"), QAT),
        lambda v: v >= 90,
        ".2f",
    )
    line(
        "Q3",
        "best QAT W2A2 at least 93 %",
        over(lambda f: max((t.mean(f, "w2a2", m, "accuracy") for m in QAT), default=float("nan"))),
        lambda v: v >= 93,
        ".2f",
    )
    line(
        "B1",
        "default W2A2 at least 5 points above the preset's GPTQ",
        over(lambda f: t.paired(f, "w2a2", "auto", "quantkan-gptq")),
        lambda v: v >= 5,
        plus,
    )
    line(
        "B1",
        "default W2A2 at least 91 % on every seed",
        over(lambda f: min(t.values(f, "w2a2", "auto", "accuracy").values(), default=float("nan"))),
        lambda v: v >= 91,
        ".2f",
    )
    line(
        "B2",
        "default W3A3 at least 96.3 %",
        over(lambda f: t.mean(f, "w3a3", "auto", "accuracy")),
        lambda v: v >= 96.3,
        ".2f",
    )
    line(
        "B3",
        "default W2A2 at least DSQ's QAT minus 1 point",
        over(lambda f: t.paired(f, "w2a2", "auto", "dsq")),
        lambda v: v >= -1 - 1e-9,
        plus,
    )
    line(
        "B3",
        "in less than 5 % of its time",
        over(lambda f: 100 * t.mean(f, "w2a2", "auto", "seconds") / t.mean(f, "w2a2", "dsq", "seconds")),
        lambda v: v < 5,
        ".1f",
    )
    pair = ("efficient-kan", "fast-kan")

    def speed(what: str, families: Sequence[str] = FAMILIES) -> dict[str, float]:
        return {f: t.mean(f, "speed", "auto", what) for f in families if f in t.families}

    line(
        "B4",
        "W4A4 file at least 7x smaller than the float32 state_dict",
        {f: t.mean(f, "w4a4", "auto", "checkpoint_bytes") / t.mean(f, "w4a4", "auto", "file_bytes") for f in pair},
        lambda v: v >= 7,
        ".2f",
    )
    line(
        "B4",
        "at least 3.32x the float forward pass's speed, one thread",
        speed("speed_ratio", pair),
        lambda v: v >= 3.32,
        ".1f",
    )
    line(
        "B5",
        "basis functions (encoding and look-up) at most 10 % of the time after compilation",
        {f: 100 * v for f, v in speed("basis_share_after").items()},
        lambda v: v <= 10,
        ".1f",
    )
    return found


def quant_page(run: Run, head: Sequence[str], closing: str) -> str:
    """Write the page.

    Parameters
    ----------
    run : Run
    head : sequence of str
        The first blocks: title and origin.
    closing : str
        Where the run comes from.
    """
    blocks = [*head, _filled(_INTRODUCTION)]
    data = [d for d in _TITLES if any(cell["params"]["data"] == d for cell in run.cells)]
    for name in data:
        t = _Table(run.cells, name)
        blocks.append(f"## {_TITLES[name]}")
        blocks.append(_summary(t))
        for row in t.rows:
            blocks.append(f"### {_TITLES[name]}, {row.upper()}")
            blocks.append(_row_table(t, row))
        decisions = _decisions_table(t)
        if decisions:
            blocks += [f"### {_TITLES[name]}, integers against fake quantization", _filled(_DECISIONS), decisions]
        sensitive = _sensitivity_tables(run, name)
        if sensitive:
            blocks += [f"### {_TITLES[name]}, sensitivity", _filled(_SENSITIVITY), sensitive]
        mixed = _mixed_table(t)
        if mixed:
            blocks += [f"### {_TITLES[name]}, mixed bits", _filled(_MIXED), mixed]
        speed = _speed_table(t)
        if speed:
            blocks += [f"### {_TITLES[name]}, speed and size", _filled(_SPEED), speed]
    if "digits" in data:
        rows = [(v.line, v.asked, v.found, v.word) for v in verdicts(run)]
        blocks += [
            "## What was asked",
            _filled("On digits. Differences are means over seeds of the same networks, in points of accuracy."),
            markdown_table([("", "asked", "found, lowest to highest family (and method)", ""), *rows]),
        ]
        missed = [v for v in verdicts(run) if v.met is False and v.asked in _REASONS]
        if missed:
            blocks.append("What was missed, and why:")
            blocks.append("\n".join(_item(f"{v.line}, {v.asked}: {_REASONS[v.asked]}") for v in missed))
    blocks += ["## Method", _filled(_METHOD), closing]
    return "\n\n".join(blocks) + "\n"


_INTRODUCTION = """
Four kinds of KAN, quantized by every method to several pairs of weight and input bits (W4A8: weights of 4 bits, inputs
of 8). All figures of accuracy are those of the integer artifact: codes in, integers from code to code, as every runtime
computes it. Points are percentage points of accuracy; a drop is how far the artifact falls below its own float
network.

The comparison column is called "QuantKAN preset (our re-implementation)", because QuantKAN's own code and numbers could
not be had: it follows the recipe that is visible where others use that code (symmetric weights a scale an output,
base, spline and scaler apart; signed inputs from the largest of the batches' 0.999 percentiles). Methods without that
name run with this library's own input ranges, so that they differ from the preset in more than their name.
"""

_METHOD = """
Digits: the 8x8 digits of scikit-learn, pixels in [-1, 1], 355 rows of them for testing; networks 64-64-10, AdamW (2e-3,
weight decay 1e-4, cosine schedule), trained once a seed and shared by all methods. One row of the test set is 0.28
points. QAT starts from the same network, AdamW 1e-3, cosine; inputs with a free offset where the method has one. MNIST:
60 000 rows, 10 000 for testing, networks 784-64-10, one seed, shortened training as stated below; the smaller table
holds the methods that stood out on digits. What a LayerNorm inside a layer gives is coded with the input bits, under
the preset with 8, because QuantKAN leaves it in floating point.

"Other decisions" is the share of test rows on which the artifact decides otherwise than the same weights and grids with
features and sums in floating point (fake quantization). Seconds are processor seconds of quantizing one network, for
QAT of training it. File bytes hold everything that is needed to predict.
"""

_SPEED = """
W4A8, one thread, processor time a row in batches of 4096. Float: efficient-kan's recursion and fast-kan's Gaussians in
torch, as the libraries compute them; for the others the fastest form known here. The share of basis functions before is
measured in torch with closed-form splines; after, it is the part of the first layer's time that does not grow with its
outputs, from a straight line through 16 to 64 outputs: finding codes and looking features up.
"""


_DECISIONS = """
By the default method: the share of test rows on which the artifact decides otherwise than the same weights and grids
with features and sums in floating point, over all seeds, and the root mean squared difference of the outputs over their
standard deviation.
"""

_SENSITIVITY = """
Each part of a network quantized alone, rounded to nearest as the preset does, all others in floating point: accuracy in
percent, and in brackets the root mean squared change of the outputs over their standard deviation; means over seeds.
`lutkan report` draws them as heat maps.
"""

_MIXED = """
Bits of weights spread over layers and branches at the bytes of flat 3 bits (8-bit inputs, method `auto`), on one half
of the calibration rows, judged by the divergence of the predictions on the other half. Accuracy is that of the
artifacts on the test rows, means over seeds.
"""


def _sensitivity_tables(run: Run, data: str) -> str:
    by: dict[str, list[dict[str, Any]]] = {}
    for cell in run.cells:
        if cell["params"]["kind"] == "sensitivity" and cell["params"]["data"] == data:
            by.setdefault(cell["params"]["family"], []).append(cell["values"])
    blocks = []
    for family, found in by.items():
        accuracy = np.mean([f["accuracy"] for f in found], axis=0)
        error = np.mean([f["output_error"] for f in found], axis=0)
        head = (family, *(f"{bits} bits" for bits in found[0]["bits"]))
        rows = [
            (" ".join(part), *(f"{100 * a:.2f} ({e:.3f})" for a, e in zip(accuracy[i], error[i], strict=True)))
            for i, part in enumerate(found[0]["parts"])
        ]
        blocks.append(markdown_table([head, *rows]))
    return "\n\n".join(blocks)


def _mixed_table(t: _Table) -> str:
    rows = []
    for family in t.families:
        found = list(t.by.get((family, "mixed", "auto"), {}).values())
        if found:
            means = {key: float(np.mean([f[key] for f in found])) for key in found[0] if key != "bits"}
            better = sum(f["mixed_divergence"] < f["flat_divergence"] for f in found)
            worse = sum(f["mixed_divergence"] > f["flat_divergence"] for f in found)
            rows.append(
                (
                    family,
                    f"{means['flat_accuracy']:.2f}",
                    f"{means['mixed_accuracy']:.2f}",
                    f"{means['flat_divergence']:.3g}",
                    f"{means['mixed_divergence']:.3g}",
                    f"{better} / {worse} of {len(found)}",
                    f"{means['mixed_bytes'] / means['flat_bytes']:.3f}x",
                )
            )
    if not rows:
        return ""
    head = (
        "family",
        "accuracy, flat",
        "accuracy, mixed",
        "divergence, flat",
        "divergence, mixed",
        "better / worse",
        "bytes",
    )
    return markdown_table([head, *rows])


_NOISE = (
    "with this library's input ranges and searched scales, rounding to nearest is within a few rows of the float "
    "network already, and the order of the methods is noise: one row of one seed is 0.06 points of a mean. Against "
    "the preset, which is what the protocol calls uniform, every method is ahead."
)
#: Why a line may be missed, as far as it was found out.
_REASONS = {
    "GPTQ at least uniform, both with searched inputs: W3A3, W2A8": _NOISE,
    "AdaRound, BRECQ at least uniform with the same inputs: W3A3, W2A8": _NOISE,
    "HAWQ-V2 at 3 bits in the mean at least flat 3 bits (GPTQ both, A3)": (
        "at 3-bit inputs most of the error is that of the inputs, so where weight bits go hardly matters, and the "
        "differences are of one row of the test set and less. `--mixed` measures instead of estimating, and keeps flat "
        "bits where they are better (see the table of mixed bits)."
    ),
    "all QAT W2A2 at least 90 %": (
        "LSQ has no offset for inputs: of four signed codes one is all but unused, and fast-kan has such a grid twice "
        "a layer. With a learned offset (LSQ+) the same networks are at the level of the other methods."
    ),
    "default W2A2 at least DSQ's QAT minus 1 point": (
        "two-bit inputs without training end between 96 and 97 % on every family; where training gains most, it is "
        "ahead by a little more than the point that was allowed."
    ),
    "in less than 5 % of its time": (
        "training is fast here: features of quantized inputs are looked up, weights are quantized in C, and 20 epochs "
        "take 1.3 to 1.9 seconds of one core; PTQ takes 0.1 to 0.3 seconds."
    ),
    "W4A4 file at least 7x smaller than the float32 state_dict": (
        "a network of 4,736 edges is small: of fast-kan's 27.6 kB the 4-bit codes are 21.3, the manifest 3.4 and "
        "float32 norms, scales and biases 2.0; codes and scales alone are 7.8 times smaller than the weights, and "
        "whole files of 784-64-10 more than 7 times (MNIST). fast-kan's checkpoint has neither knots nor scalers to "
        "save."
    ),
    "basis functions (encoding and look-up) at most 10 % of the time after compilation": (
        "in microseconds the basis is all but gone (see the table), but the sums have become as much faster, so that "
        "finding codes and features is still about half of the little that is left."
    ),
}


def _item(text: str) -> str:
    return textwrap.fill(
        text, 120, initial_indent="* ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _filled(text: str) -> str:
    blocks = textwrap.dedent(text).strip().split("\n\n")
    return "\n\n".join(
        textwrap.fill(" ".join(block.split()), 120, break_long_words=False, break_on_hyphens=False) for block in blocks
    )


def _summary(t: _Table) -> str:
    """Preset against default, row by row."""
    head = ("", *(f"{f}: {who}" for f in t.families for who in ("preset", "ours")))
    floats = ("float32", *(f"{t.mean(f, 'float', 'float', 'accuracy'):.2f}" for f in t.families for _ in (0, 1)))
    body = [
        (
            row.upper(),
            *(f"{t.mean(f, row, m, 'accuracy'):.2f}" for f in t.families for m in ("quantkan-uniform", "auto")),
        )
        for row in t.rows
    ]
    note = f'"preset" is the {_PRESET}, uniform; "ours" is `auto`, the default.'
    return f"{markdown_table([head, floats, *body])}\n\n{note}"


def _row_table(t: _Table, row: str) -> str:
    head = ("method", *t.families, "other decisions, %", "file bytes", "seconds")
    body = []
    for method in t.methods(row):
        line = [_NAMES.get(method, method) + (" (QAT)" if method in QAT else "")]
        differs, size, seconds = [], [], []
        for family in t.families:
            values = list(t.values(family, row, method, "accuracy").values())
            if not values:
                line.append("")
                continue
            drop = t.mean(family, row, method, "drop")
            spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
            line.append(f"{np.mean(values):.2f}{spread} ({-drop:+.2f})")
            differs += list(t.values(family, row, method, "decision_difference").values())
            size += list(t.values(family, row, method, "file_bytes").values())
            seconds += list(t.values(family, row, method, "seconds").values())
        line += [f"{100 * np.mean(differs):.2f}", f"{np.mean(size):,.0f}", f"{np.mean(seconds):.2f}"]
        body.append(tuple(line))
    note = "Accuracy in percent, mean ± standard deviation over seeds, and the change against the float network."
    return f"{markdown_table([head, *body])}\n\n{note}"


def _decisions_table(t: _Table) -> str:
    rows = [row for row in DECISIONS if any(key[1:] == (row, "auto") for key in t.by)]
    if not rows:
        return ""
    head = ("", *(f"{family}: {what}" for family in t.families for what in ("decisions", "outputs")))
    body = []
    for row in rows:
        line = [row.upper()]
        for family in t.families:
            differs = t.mean(family, row, "auto", "decision_difference")
            error = t.mean(family, row, "auto", "output_error")
            line += [f"{100 * differs:.3f} %", f"{error:.4f}"]
        body.append(tuple(line))
    return markdown_table([head, *body])


def _speed_table(t: _Table) -> str:
    body = []
    for family in t.families:
        found = t.by.get((family, "speed", "auto"), {})
        for v in found.values():
            body.append(
                (
                    family,
                    f"{1e6 * v['float_seconds_a_row']:.2f}",
                    f"{1e6 * v['artifact_seconds_a_row']:.2f}",
                    f"{v['speed_ratio']:.1f}x",
                    f"{v['checkpoint_bytes']:,}",
                    f"{v['file_bytes']:,}",
                    f"{v['size_ratio']:.2f}x",
                    f"{100 * v['basis_share_before']:.0f} % ({1e6 * v['basis_seconds_a_row_before']:.2f} us)",
                    f"{100 * v['basis_share_after']:.0f} % ({1e6 * v['basis_seconds_a_row_after']:.2f} us)",
                )
            )
    if not body:
        return ""
    head = (
        "family",
        "float, us a row",
        "artifact, us a row",
        "faster",
        "float bytes",
        "file bytes",
        "smaller",
        "basis before",
        "after",
    )
    return markdown_table([head, *body])
