"""Plots as inline SVG: text stays text, and colours are CSS variables of the page that the plot stands in.

Every plot is drawn 360 units wide, so that it needs no scaling on a phone; legends are left to the page, which can wrap
them. Series differ by marker and dash as well as by colour.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "MARKERS",
    "SLOTS",
    "Key",
    "Plot",
    "Series",
    "bars",
    "curves",
    "edge_plot",
    "heat_map",
    "matrices",
    "readable",
    "scatter",
    "two_digits",
]

F64 = NDArray[np.float64]

#: Colours that a page has to define as --c0 .. --c7; more series than that share them, with other markers.
SLOTS = 8
#: Shapes by number of a series, as matplotlib names them.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))
_WIDTH = 360
# Colours that nothing else uses stand for the page's own until the SVG is done.
_INK, _MUTED, _FAINT = "#fe00f0", "#fe00f1", "#fe00f2"
_VARIABLES = {_INK: "var(--ink)", _MUTED: "var(--muted)", _FAINT: "var(--faint)"} | {
    f"#fe000{slot}": f"var(--c{slot})" for slot in range(SLOTS)
}
# A colour map that is the same to colour-blind readers; dark is low.
_MAP = "cividis"


@dataclass(frozen=True)
class Key:
    """One entry of a legend.

    Attributes
    ----------
    label : str
    slot : int
        Number of the colour, `var(--c<slot>)`.
    shape : str
        A marker of `MARKERS`, "line", "dashed" or "patch".
    """

    label: str
    slot: int
    shape: str


@dataclass(frozen=True, eq=False)
class Plot:
    """What is to be drawn, and what is said of it.

    Attributes
    ----------
    name : str
        Short and unique within a report.
    title : str
    height : float
        In units of which the width has 360.
    draw : callable
        Draws on a figure of matplotlib's.
    legend : tuple of Key
    caption : str
        What a reader has to know to read it; empty if nothing.
    """

    name: str
    title: str
    height: float
    draw: Callable[[Figure], None]
    legend: tuple[Key, ...] = ()
    caption: str = ""

    @property
    def svg(self) -> str:
        """An `<svg>` element without outer references.

        Raises
        ------
        RuntimeUnavailableError
            matplotlib is not installed.
        """
        return _svg(self.name, self.title, self.height, self.draw)


@dataclass(frozen=True, eq=False)
class Series:
    """Points of one kind.

    Attributes
    ----------
    label : str
    x, y : float arrays of equal length
    spread : float array or None
        Half width of an interval around `y`.
    """

    label: str
    x: F64
    y: F64
    spread: F64 | None = None


def curves(
    name: str,
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    level: tuple[float, str] | None = None,
    x_ticks: Sequence[float] | None = None,
    caption: str = "",
) -> Plot:
    """Draw curves on two logarithmic axes.

    Parameters
    ----------
    series : sequence of Series
        Values that are not positive are left out, since they have no logarithm.
    level : (float, str), optional
        A horizontal line, and what it is.
    x_ticks : sequence of float, optional
        Where the horizontal axis is labelled.

    Examples
    --------
    >>> one = Series("int8", np.array([2.0, 4.0]), np.array([1e-2, 1e-3]))
    >>> curves("a", "error", [one], x_label="L", y_label="error").svg.startswith("<svg")
    True
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        for number, one in enumerate(series):
            shown = (one.x > 0) & (one.y > 0)
            style: dict[str, Any] = {
                "color": _slot(number),
                "linestyle": _DASHES[number // SLOTS % len(_DASHES)],
                "marker": MARKERS[number % len(MARKERS)],
            }
            axes.plot(one.x[shown], one.y[shown], **style)
            if one.spread is not None:
                # An interval that reaches zero has no place on the axis; it ends at a tenth of the mean.
                below = np.minimum(one.spread, 0.9 * one.y)[shown]
                axes.errorbar(
                    one.x[shown],
                    one.y[shown],
                    (below, one.spread[shown]),
                    fmt="none",
                    ecolor=_slot(number),
                    elinewidth=0.9,
                    capsize=2.0,
                    capthick=0.9,
                )
        if level is not None:
            axes.axhline(level[0], color=_MUTED, linestyle=(0, (1, 1.5)), linewidth=1.2)
            axes.annotate(
                level[1], (0, level[0]), (3, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="left", va="bottom", color=_MUTED,
            )  # fmt: skip
        _logarithmic(axes.yaxis)
        if x_ticks is not None:
            axes.set_xticks(list(x_ticks), [f"{tick:g}" for tick in x_ticks])
            axes.minorticks_off()
        _label(axes, x_label, y_label)

    return Plot(name, title, 270, draw, _keys(series), caption)


def scatter(
    name: str,
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    caption: str = "",
) -> Plot:
    """Draw points on logarithmic axes, and the front that no point beats in both: lower is better on both axes.

    Examples
    --------
    >>> one = Series("int8", np.array([1e3, 2e3]), np.array([1e-2, 1e-3]))
    >>> "<svg" in scatter("a", "Pareto", [one], x_label="bytes", y_label="error").svg
    True
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        points = np.array([(x, y) for one in series for x, y in zip(one.x, one.y, strict=True) if x > 0 and y > 0])
        front = _front(points)
        axes.step(front[:, 0], front[:, 1], where="post", color=_MUTED, linewidth=1.1, zorder=1)
        for number, one in enumerate(series):
            shown = (one.x > 0) & (one.y > 0)
            axes.plot(
                one.x[shown],
                one.y[shown],
                color=_slot(number),
                marker=MARKERS[number % len(MARKERS)],
                linestyle="none",
                markersize=5.5,
                alpha=0.9,
            )
        _logarithmic(axes.xaxis)
        _logarithmic(axes.yaxis)
        _label(axes, x_label, y_label)

    return Plot(name, title, 270, draw, _keys(series), caption)


def heat_map(
    name: str,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: F64,
    *,
    logarithmic: bool = False,
    limits: tuple[float, float] | None = None,
    write: Callable[[float], str] | None = None,
    row_label: str = "",
    column_label: str = "",
    caption: str = "",
) -> Plot:
    """Draw a matrix as coloured fields with their values in them; NaN fields stay empty.

    Parameters
    ----------
    values : float64 [rows, columns]
    logarithmic : bool
        Whether colours follow the logarithm; what is not positive then takes the lowest colour.
    limits : (float, float), optional
        Values of the lowest and the highest colour, so that several maps may share them.
    write : callable, optional
        How a value is written into its field; in two digits without.

    Examples
    --------
    >>> "<svg" in heat_map("a", "errors", ["x"], ["y"], np.array([[1.0]])).svg
    True
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        size = 9.5 if len(columns) < 5 else max(5.5, 43.0 / len(columns))
        _fields(axes, values, _levels(values, logarithmic, limits), write or two_digits, size)
        places = np.arange(len(columns)) + 0.5
        axes.set_xticks(places, [_broken(text, 48 // len(columns)) for text in columns], fontsize=min(9.5, size))
        axes.set_yticks(np.arange(len(rows)) + 0.5, [_broken(text, 18) for text in rows])
        axes.tick_params(length=0)
        _label(axes, column_label, row_label)

    tall = max((_lines(text, 18) for text in rows), default=1)
    below = max((_lines(text, 48 // len(columns)) for text in columns), default=1)
    height = 60 + max(30, 12 * tall + 4) * len(rows) + 11 * below
    return Plot(name, title, height, draw, (), caption)


def bars(
    name: str,
    title: str,
    rows: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    logarithmic: bool = False,
    mark: float | None = None,
    caption: str = "",
) -> Plot:
    """Draw horizontal bars, divided into parts.

    Parameters
    ----------
    rows : sequence of str
    parts : mapping
        Name of a part -> its size in every row.
    logarithmic : bool
        For bars of one part only.
    mark : float, optional
        Where a dotted line stands; the caption has to say what it is.

    Examples
    --------
    >>> bars("a", "bytes", ["int8"], {"codes": [10.0], "scales": [2.0]}, x_label="bytes").legend[1].label
    'scales'
    """

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        left = np.zeros(len(rows))
        for number, sizes in enumerate(parts.values()):
            size = np.nan_to_num(np.asarray(sizes, dtype=np.float64))
            axes.barh(np.arange(len(rows)), size, 0.68, left=left, color=_slot(number), linewidth=0)
            left = left + size
        axes.set_yticks(np.arange(len(rows)), [_broken(text, 22) for text in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        if logarithmic:
            axes.set_xscale("log")
            # Bars begin at a power of ten, so that their lengths compare from page to page.
            if (left > 0).any():
                axes.set_xlim(left=10.0 ** np.floor(np.log10(left[left > 0].min()) - 1e-9))
            _logarithmic(axes.xaxis)
        else:
            axes.xaxis.set_major_formatter(lambda value, _: readable(value))
            axes.xaxis.set_major_locator(MaxNLocator(4))
        if mark is not None:
            axes.axvline(mark, color=_INK, linestyle=(0, (1, 1.5)), linewidth=1.2)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        _label(axes, x_label, "")

    legend = tuple(Key(label, number % SLOTS, "patch") for number, label in enumerate(parts))
    height = 60 + (8 + 12 * max((_lines(text, 22) for text in rows), default=1)) * len(rows)
    return Plot(name, title, height, draw, legend if len(parts) > 1 else (), caption)


def edge_plot(
    name: str, title: str, x: F64, model: F64, table: F64, inside: tuple[float, float], *, caption: str = ""
) -> Plot:
    """Draw an edge function of the model and of the artifact, and their difference below.

    Parameters
    ----------
    x, model, table : float64 [S]
    inside : (float, float)
        What the tables cover; the rest is shaded.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 5)
    >>> edge_plot("a", "edge", x, x, x + 0.1, (-1.0, 1.0)).legend[0].label
    'model'
    """

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        upper.plot(x, model, color=_slot(0), linewidth=4.0, alpha=0.5)
        upper.plot(x, table, color=_slot(1), linewidth=1.1)
        lower.plot(x, table - model, color=_slot(2), linewidth=1.0)
        for axes in (upper, lower):
            axes.set_xlim(x[0], x[-1])
            for low, high in ((x[0], inside[0]), (inside[1], x[-1])):
                if high > low:
                    axes.axvspan(low, high, color=_FAINT, alpha=0.45, linewidth=0)
        lower.yaxis.set_major_locator(MaxNLocator(3))
        lower.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=False)
        lower.yaxis.get_offset_text().set(color=_INK, fontsize=8)
        _label(upper, "", "value")
        _label(lower, "input of the edge", "error")
        figure.align_ylabels()

    keys = (Key("model", 0, "line"), Key("artifact", 1, "line"), Key("artifact - model", 2, "line"))
    return Plot(name, title, 300, draw, keys, caption)


def matrices(
    name: str,
    title: str,
    found: Sequence[tuple[str, F64]],
    classes: Sequence[str],
    *,
    caption: str = "",
) -> Plot:
    """Draw confusion matrices two beside each other, coloured by share of the true class.

    Parameters
    ----------
    found : sequence of (str, float64 [classes, classes])
        Name and counts; a row is a true class, a column what it is called.

    Examples
    --------
    >>> matrices("a", "decisions", [("int8", np.array([[5.0, 0.0], [1.0, 4.0]]))], ("benign", "attack")).height
    170
    """

    def draw(figure: Figure) -> None:
        places = figure.subplots((len(found) + 1) // 2, 2, squeeze=False).ravel()
        for axes in places[len(found) :]:
            axes.set_visible(False)
        for (label, counts), axes in zip(found, places, strict=False):
            of_class = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            _fields(axes, counts, of_class, lambda value: f"{value:,.0f}", 9.0 if len(classes) < 4 else 6.5)
            axes.set_title(label, fontsize=9.5, color=_INK)
            axes.set_xticks(np.arange(len(classes)) + 0.5, list(classes))
            axes.set_yticks(np.arange(len(classes)) + 0.5, list(classes), rotation=90, va="center")
            axes.tick_params(length=0)
        figure.supxlabel("called", fontsize=9.5)
        figure.supylabel("true", fontsize=9.5)

    return Plot(name, title, 50 + 120 * ((len(found) + 1) // 2), draw, (), caption)


def readable(value: float) -> str:
    """Write a number in a few characters.

    Examples
    --------
    >>> readable(1536.0), readable(2.5e6), readable(0.0), readable(1e-5)
    ('1.54k', '2.5M', '0', '1e-05')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def two_digits(value: float) -> str:
    """Write a number in two digits.

    Examples
    --------
    >>> [two_digits(v) for v in (0.0, 0.0123, 157.3, 1234.0, 2.5e-7)]
    ['0', '0.012', '157', '1.23k', '2.5e-7']
    """
    if value == 0.0 or 1e-2 <= abs(value) < 100:
        return f"{value:.2g}"
    return readable(value) if abs(value) >= 1 else re.sub(r"e-0?", "e-", f"{value:.1e}")


# ------------------------------------------------------------------------------------------------------- drawing


def _slot(number: int) -> str:
    return f"#fe000{number % SLOTS}"


def _keys(series: Sequence[Series]) -> tuple[Key, ...]:
    if len(series) == 1 and not series[0].label:
        return ()
    return tuple(Key(one.label, number % SLOTS, MARKERS[number % len(MARKERS)]) for number, one in enumerate(series))


def _front(points: F64) -> F64:
    """Return the points that no other one beats in both coordinates, by the first."""
    if not len(points):
        return np.zeros((0, 2))
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
    best = np.minimum.accumulate(ordered[:, 1])
    return ordered[np.concatenate([[True], ordered[1:, 1] < best[:-1]])]


def _fields(axes: Axes, values: F64, level: F64, write: Callable[[float], str], size: float) -> None:
    """Colour a matrix by its levels and write its values; NaN stays empty."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    for i, j in np.argwhere(~np.isnan(values)):
        colour = colormaps[_MAP](level[i, j])
        axes.add_patch(Rectangle((j, i), 1, 1, facecolor=colour, edgecolor="none"))
        luminance = float(np.dot(_linear(np.asarray(colour)[:3]), (0.2126, 0.7152, 0.0722)))
        ink = "#000000" if luminance > 0.18 else "#ffffff"  # whichever has the higher contrast
        text = write(float(values[i, j]))
        axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=ink, fontsize=size)
    axes.set_xlim(0, values.shape[1])
    axes.set_ylim(values.shape[0], 0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _levels(values: F64, logarithmic: bool, limits: tuple[float, float] | None) -> F64:
    """Return colour levels from 0 to 1."""
    kept = values if limits is None else np.clip(values, *limits)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.where(kept > 0, np.log10(kept), np.nan) if logarithmic else kept.astype(np.float64)
        ends = None if limits is None else np.log10(limits) if logarithmic else np.asarray(limits)
    if ends is not None and np.isfinite(ends).all() and ends[1] > ends[0]:
        return (np.nan_to_num(level, nan=ends[0]) - ends[0]) / (ends[1] - ends[0])
    finite = level[np.isfinite(level)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    scaled = (np.nan_to_num(level, nan=low, posinf=high, neginf=low) - low) / (high - low if high > low else 1.0)
    return scaled


def _linear(colour: F64) -> F64:
    """Return the linear light of sRGB components (IEC 61966-2-1)."""
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def _broken(text: str, width: int) -> str:
    r"""Break a label into lines, behind spaces, hyphens, slashes and underscores, where it is longer than `width`.

    Examples
    --------
    >>> _broken("half_open/zero_spline", 12)
    'half_open/\nzero_spline'
    """
    lines = [""]
    for piece in re.findall(r"[^ \-/_]*[ \-/_]?", text):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > max(width, 6):
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _lines(text: str, width: int) -> int:
    return _broken(text, width).count("\n") + 1


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _power(value: float, _position: object = None) -> str:
    """Write a power of ten as 10⁻³, from 1 to 100 as it is."""
    exponent = round(np.log10(value)) if value > 0 else 0
    return f"{value:g}" if 0 <= exponent <= 2 else f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def _logarithmic(axis: Any) -> None:
    """Label powers of ten; where fewer than two are in sight, other ticks too."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    short = high / low < 30 if low > 0 else False
    axis.set_major_locator(LogLocator(base=10.0, subs=(1.0, 2.0, 5.0) if short else (1.0,), numticks=7))
    axis.set_major_formatter((lambda value, _: readable(value)) if short else _power)
    axis.set_minor_formatter(NullFormatter())


def _label(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)


@contextmanager
def _style() -> Iterator[None]:
    try:
        import matplotlib
    except ImportError as error:
        raise RuntimeUnavailableError(
            "plots need matplotlib", fix="pip install 'lutkan[report]', or write .md or .csv"
        ) from error
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "lutkan",
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "axes.labelsize": 10,
        "axes.edgecolor": _MUTED,
        "axes.labelcolor": _INK,
        "axes.linewidth": 0.8,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.unicode_minus": False,
        "grid.color": _FAINT,
        "grid.linewidth": 0.7,
        "xtick.color": _MUTED,
        "ytick.color": _MUTED,
        "xtick.labelcolor": _INK,
        "ytick.labelcolor": _INK,
        "xtick.labelsize": 9.5,
        "ytick.labelsize": 9.5,
        "lines.linewidth": 1.6,
        "lines.markersize": 5,
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "text.color": _INK,
    }
    with matplotlib.rc_context(settings):
        yield


def _svg(name: str, title: str, height: float, draw: Callable[[Figure], None]) -> str:
    """Draw a figure and make it fit to stand in a page: no prologue, no fixed size, own ids, the page's colours."""
    with _style():
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_WIDTH / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style\b.*?</style>\s*", "", text, flags=re.DOTALL)  # it would hold for the whole page
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"\d+\.\d{3,}", lambda n: f"{float(n[0]):.2f}", tag[0]), text)
    text = re.sub(r"\s*\n\s*", " ", text)
    prefix = re.sub(r"\W+", "-", name)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text).replace("xlink:href", "href")
    text = re.sub(r"#fe00[0-9a-f]{2}", lambda found: _VARIABLES[found[0]], text)
    text = text.replace("'DejaVu Sans'", "var(--plot-font)")
    head = f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{_attribute(title)}">'
    return head + text[text.index(">") + 1 :]


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
