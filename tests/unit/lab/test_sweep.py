"""The controlled sweep."""

from __future__ import annotations

import numpy as np
import pytest

from lutkan.errors import InputError
from lutkan.lab import sweep
from lutkan.lab.experiment import Run
from lutkan.lab.pages import page
from lutkan.lab.sweep import TableCell, TimeCell, cells, measure, settings, table_spec
from lutkan.runtimes.model import available_runtimes
from lutkan.tables import SegmentSpec

QUICK = settings(quick=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("sweep") / "sweep.jsonl"
    return sweep.run_sweep(path, names=["10-8"], seeds=(0, 1), settings=QUICK, quick=True)


def mae(tables, value, rows="in_range", seed=0):
    return measure(TableCell("10-8", seed, tables, value), sweep.Settings(rows=512))[rows]["mae"]


def test_the_published_errors_are_reproduced():
    """[10, 8], G = 8, as pykan draws it: 2.0e-5 and 1.4e-5 at L = 16, 1.3e-3 at L = 2 (arXiv 2601.03332, revised)."""
    assert np.mean([mae("segment-int8-L16", "spline_component", seed=s) for s in range(3)]) == pytest.approx(
        2.0e-5, rel=0.1
    )
    assert np.mean([mae("segment-uint8-L16", "spline_component", seed=s) for s in range(3)]) == pytest.approx(
        1.4e-5, rel=0.1
    )
    assert np.mean([mae("segment-int8-L2", "spline_component", seed=s) for s in range(3)]) == pytest.approx(
        1.3e-3, rel=0.1
    )
    assert np.mean([mae("segment-int8-L16", "phi", seed=s) for s in range(3)]) == pytest.approx(4.2e-4, rel=0.1)


def test_more_samples_help_down_to_the_floor_of_eight_bits():
    errors = [mae(f"segment-int8-L{n}", "spline_component") for n in (2, 4, 8, 64)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] / errors[1] > 3  # second order in 1 / (L - 1) until the floor
    assert mae("segment-int8-L64", "spline_component") > 0.8 * mae("segment-int8-L128", "spline_component")


def test_float32_tables_are_the_spline_itself():
    assert mae("float32", "") < 1e-6
    assert mae("int16", "") < mae("int8", "") < 1.2 * mae("int4", "")


def test_errors_stand_in_and_out_of_range(run):
    for cell in run.select(task="tables"):
        values = cell["values"]
        assert values["in_range"]["rows"] == values["out_of_range"]["rows"] == 32
        for where in ("in_range", "out_of_range"):
            assert 0 < values[where]["mae"] <= values[where]["max"]
        assert 0 < values["out_share"] < 0.5
        assert sum(values["arrays"].values()) == values["table_bytes"] < values["file_bytes"]


def test_out_of_range_rows_lie_beyond_the_knots_and_the_others_do_not():
    rows = sweep._rows("78-32-16-1", 0, 16)
    knots = sweep.draw("78-32-16-1", 0).state["layers.0.grid"][0]
    assert rows.within.min() >= knots[0]
    assert rows.within.max() <= knots[-1]
    beyond = (rows.beyond < knots[0]) | (rows.beyond > knots[-1])
    assert beyond.any(axis=1).all()
    assert rows.share == pytest.approx(beyond.mean())


def test_tiers_are_complete_here(run):
    pytest.importorskip("numba", reason="needs numba")
    if available_runtimes()["native"]:
        pytest.skip("the native runtime is not available here")
    (cell, _) = run.select(task="time")
    for tier in sweep.TIERS:
        for look_up in tier.look_ups:
            for name in sweep.TIMED:
                arm = look_up.format(name)
                assert cell["values"]["arms"][arm]["ns_an_edge"] > 0
                for baseline in filter(None, (tier.paper, *tier.local)):
                    ratio = cell["values"]["ratios"][f"{baseline} / {arm}"]
                    assert ratio > 0
    for name, arm in cell["values"]["arms"].items():
        exact = "Cox-de Boor" in name or "B-spline" in name or "GEMM" in name or "float32" in name
        assert (arm["max_error"] < 1e-5) == exact, name


def test_the_papers_baseline_is_left_out_of_large_networks(monkeypatch):
    monkeypatch.setattr(sweep, "PAPER_EDGES", 79)
    values = measure(TimeCell("10-8", 0, 2), QUICK)
    assert "run up to 79 edges only" in values["skipped"]["numpy Cox-de Boor an edge"]
    assert not any("Cox-de Boor" in name for name in (*values["arms"], *values["ratios"]))


def test_without_numba_its_arms_are_skipped(monkeypatch):
    found = sweep.importlib.util.find_spec
    monkeypatch.setattr(sweep.importlib.util, "find_spec", lambda name: None if name == "numba" else found(name))
    values = measure(TimeCell("10-8", 0, 2), QUICK)
    assert values["skipped"]["numba B-spline"] == "numba is not installed"
    assert "numpy segment-int8-L16" in values["arms"]


def test_the_whole_sweep_has_every_kind_of_cell():
    every = cells()
    tables = [cell for cell in every if isinstance(cell, TableCell)]
    assert len(tables) == 5 * 5 * (7 * 2 * 2 + 4)
    assert {(c.net, c.batch, c.seed) for c in every if isinstance(c, TimeCell)} == {
        (net, batch, seed) for net in sweep.NETS for batch in (1, 256) for seed in range(5)
    }
    assert {cell.tables for cell in tables} >= {"segment-uint8-L2", "segment-int8-L128", "int4", "int8", "int16"}


def test_segment_tables_are_closed_and_keep_to_the_model():
    layer = table_spec("segment-uint8-L8", "phi").default
    assert isinstance(layer, SegmentSpec)
    assert (layer.samples, layer.dtype, layer.value, layer.boundary_mode, layer.oob_policy) == (
        8,
        "uint8",
        "phi",
        "closed",
        "model",
    )


def test_an_unknown_network_is_named():
    with pytest.raises(InputError, match="no network 'teapot'"):
        cells(["teapot"])


def test_processor_time_is_another_clock():
    assert settings(clock="cpu").plan(0).clock is not settings().plan(0).clock


def test_the_page_has_every_table_and_ratio(run):
    text = page(run)
    for cell in run.select(task="tables"):
        assert f"| {cell['params']['tables']} {cell['params']['value']}".rstrip() in text
    for arm in run.select(task="time")[0]["values"]["arms"]:
        assert f"| {arm}" in text
    assert "over a B-spline" in text
    assert text == page(run)
