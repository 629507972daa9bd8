"""Plots: well-formed SVG that stands alone, keeps its text, and takes its colours from the page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib")

from lutkan.report import plots
from lutkan.report.plots import Series, bars, curves, edge_plot, heat_map, matrices, scatter

X = np.array([2.0, 4.0, 8.0])


def a_curve(name="c"):
    series = [Series("int8", X, 1 / X**2, 0.1 / X), Series("uint8", X, 0.5 / X**2)]
    return curves(name, "Error", series, x_label="L", y_label="error", level=(0.01, "8-bit floor"), x_ticks=X)


def every_plot():
    return [
        a_curve(),
        scatter("s", "Pareto", [Series("a", X, 1 / X), Series("b", X, 2 / X)], x_label="bytes", y_label="error"),
        heat_map("h", "Map", ["r<1>", "r2"], ["c1", "c2"], np.array([[1.0, np.nan], [1e-3, 20.0]]), logarithmic=True),
        bars("b", "Bytes", ["int8", "a long label with words"], {"codes": [5.0, 7.0], "rest": [1.0, 0.0]}, x_label="b"),
        edge_plot("e", "Edge", X, X**2, X**2 + 0.01, (2.5, 7.0)),
        matrices("m", "Confusion", [("int8", np.array([[5.0, 1.0], [0.0, 7.0]]))] * 3, ("benign", "attack")),
    ]


@pytest.mark.parametrize("plot", every_plot(), ids=lambda plot: plot.name)
def test_svg_stands_alone_and_takes_colours_from_the_page(plot):
    svg = plot.svg
    root = ET.fromstring(svg)
    assert root.tag == "svg"
    assert root.get("viewBox") == f"0 0 360 {plot.height:g}"
    assert root.get("aria-label") == plot.title
    assert "var(--ink)" in svg
    assert "#fe00" not in svg  # every stand-in was replaced
    assert not re.search(r"https?:|<style|<metadata|<!--|DejaVu|xlink", svg)
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert all(one.startswith(f"{plot.name}-") for one in ids)
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg)) <= set(ids)


def texts(plot):
    return ["".join(text.itertext()) for text in ET.fromstring(plot.svg).iter("text")]


def test_text_stays_text_with_all_its_digits():
    assert {"L", "error", "8-bit floor", "2", "4", "8"} <= set(texts(a_curve()))
    found = texts(heat_map("h", "m", ["r<1>"], ["c"], np.array([[0.012345]])))
    assert {"r<1>", "c", "0.012"} <= set(found)


def test_a_plot_is_the_same_every_time():
    assert a_curve().svg == a_curve().svg


def test_two_plots_on_a_page_share_no_id():
    first, second = (set(re.findall(r'\bid="([^"]+)"', a_curve(name).svg)) for name in ("a", "b"))
    assert first and not first & second


def test_series_have_their_own_colour_and_marker():
    many = [Series(str(n), X, X * (n + 1)) for n in range(10)]
    keys = scatter("s", "t", many, x_label="x", y_label="y").legend
    assert len({(key.slot, key.shape) for key in keys[: plots.SLOTS]}) == plots.SLOTS
    assert max(key.slot for key in keys) < plots.SLOTS
    assert set(re.findall(r"var\(--c(\d)\)", scatter("s", "t", many, x_label="x", y_label="y").svg)) == set("01234567")


def test_the_front_is_what_nothing_beats():
    points = np.array([[1.0, 5.0], [2.0, 6.0], [2.0, 3.0], [3.0, 3.0], [4.0, 1.0], [1.0, 7.0]])
    assert plots._front(points).tolist() == [[1.0, 5.0], [2.0, 3.0], [4.0, 1.0]]
    assert plots._front(np.zeros((0, 2))).shape == (0, 2)


def test_fields_of_maps_without_a_value_stay_empty():
    values = np.array([[1.0, np.nan], [0.0, 2.0]])
    found = texts(heat_map("h", "m", ["a", "b"], ["c", "d"], values))
    assert sorted(text for text in found if text not in "abcd") == ["0", "1", "2"]


def test_text_on_a_field_contrasts_with_it():
    svg = heat_map("h", "m", ["a"], [str(n) for n in range(9)], np.arange(9.0)[None]).svg
    fills = re.findall(r'<path d="[^"]*" clip-path="[^"]*" style="fill: (#[0-9a-f]{6})', svg)
    inks = re.findall(r"text-anchor: middle; fill: (#[0-9a-f]{6})|text-anchor: middle\" ", svg)
    assert len(fills) == 9

    def luminance(colour):
        part = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return float(plots._linear(part) @ (0.2126, 0.7152, 0.0722))

    for fill in fills:
        light = luminance(fill)
        ink = 0.0 if light > 0.18 else 1.0
        assert (max(light, ink) + 0.05) / (min(light, ink) + 0.05) > 4.5
    assert set(inks) <= {"#ffffff", "#000000", ""}


def test_levels_follow_shared_limits():
    values = np.array([[1e-3, 1e-1, 0.0]])
    assert plots._levels(values, True, (1e-3, 1e-1)).tolist() == [[0.0, 1.0, 0.0]]
    assert plots._levels(values, True, (1e-5, 1e-1))[0, 0] == pytest.approx(0.5)
    assert plots._levels(np.array([[2.0, 2.0]]), False, None).tolist() == [[0.0, 0.0]]


def test_values_without_a_logarithm_are_left_out():
    svg = curves("c", "t", [Series("a", np.array([2.0, 4.0]), np.array([0.0, 1.0]))], x_label="x", y_label="y").svg
    assert "nan" not in svg and "inf" not in svg


def test_without_matplotlib_the_message_says_what_to_do(monkeypatch):
    import sys

    from lutkan.errors import RuntimeUnavailableError

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RuntimeUnavailableError, match=r"lutkan\[report\]"):
        _ = a_curve().svg
