"""The out-of-range matrix: policies do what they say, and the matrix would notice if they did not."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

from lutkan.errors import InputError, VerificationError
from lutkan.lab import oob
from lutkan.lab.experiment import Run
from lutkan.lab.oob import NETS, POLICIES, OutsideCell, defined, require_policies, run_oob, tells_apart

ONE = "half_open/clip_x", "closed/clip_x"  # the same function up to one unit in the last place
PHI, LINES, BUMPS, ZERO = (
    "phi tables",
    "splines with non-zero ends",
    "fast-kan cut at its grid",
    "splines that end in zero",
)
ROWS = 192


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return run_oob(tmp_path_factory.mktemp("oob") / "oob.jsonl", seeds=(0,), rows=ROWS)


def cell_of(run, net, policy):
    (cell,) = run.select(net=net, policy=policy)
    return cell


def renamed(run, net, old, new):
    """Return the run as it would be had the tables been compiled for another policy than the cell says."""
    cells = []
    for cell in copy.deepcopy(run.cells):
        if cell["params"]["net"] == net and cell["params"]["policy"] == old:
            cell["params"]["policy"] = new
        cells.append(cell)
    return Run(run.manifest, tuple(cells))


def test_every_policy_does_what_its_definition_says(run):
    require_policies(run)
    for cell in run.cells:
        own = cell["values"]["against_definition"][cell["params"]["policy"]]
        for group, error in own.items():
            assert error["mae"] < 0.03 * cell["values"]["spread"], (cell["params"], group)


@pytest.mark.parametrize(
    ("old", "new"), [pair for pair in itertools.permutations(POLICIES, 2) if set(pair) != set(ONE)]
)
@pytest.mark.parametrize("net", [PHI, LINES])
def test_the_matrix_notices_two_policies_in_each_others_place(run, net, old, new):
    assert tells_apart(cell_of(run, net, old)["values"], old, new)
    with pytest.raises(VerificationError, match=net):
        require_policies(renamed(run, net, old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [(f"half_open/{a}", f"half_open/{b}") for a, b in itertools.permutations(("clip_x", "zero_spline", "model"), 2)],
)
def test_fast_kan_tells_what_is_done_outside(run, old, new):
    with pytest.raises(VerificationError):
        require_policies(renamed(run, BUMPS, old, new))


def test_splines_that_end_in_zero_tell_nothing(run):
    """The paper's own experiment: swapping policies goes unnoticed, so it proves nothing about them."""
    for old, new in itertools.permutations(POLICIES, 2):
        assert not tells_apart(cell_of(run, ZERO, old)["values"], old, new)
        require_policies(renamed(run, ZERO, old, new))


def test_swapping_two_definitions_fails_too(tmp_path, monkeypatch):
    swapped = {"closed/clip_x": "closed/zero_spline", "closed/zero_spline": "closed/clip_x"}
    monkeypatch.setattr(oob, "defined", lambda m, s, policy, x: defined(m, s, swapped.get(policy, policy), x))
    run = run_oob(tmp_path / "oob.jsonl", names=[PHI], seeds=(0,), rows=ROWS)
    with pytest.raises(VerificationError, match=r"tables for closed/(clip_x|zero_spline)"):
        require_policies(run)


@pytest.mark.parametrize("net", NETS)
def test_the_model_policy_defines_what_the_model_does(net):
    subject = NETS[net]
    model = subject.draw(3)
    x = 2 * np.random.default_rng(0).standard_normal((40, subject.widths[0])).astype(np.float32)
    wanted = model.network.evaluate(x)
    np.testing.assert_allclose(defined(model, subject, "half_open/model", x), wanted, atol=2e-6 * np.abs(wanted).max())


def test_rows_are_grouped_by_their_worst_input(run):
    for net in (PHI, LINES):
        values = cell_of(run, net, POLICIES[0])["values"]
        assert sum(values["rows"].values()) == 2 * ROWS
        assert min(values["rows"].values()) > 0
        assert 0 < values["out_share"] < 0.2
    assert cell_of(run, BUMPS, POLICIES[0])["values"]["rows"]["border"] == 0
    assert "border" not in cell_of(run, BUMPS, POLICIES[0])["values"]["against_model"]


def test_the_default_policy_is_the_one_that_keeps_to_the_model(run):
    for net in (PHI, LINES, BUMPS):
        errors = {policy: cell_of(run, net, policy)["values"]["against_model"]["outside"]["mae"] for policy in POLICIES}
        assert errors["half_open/model"] < 0.1 * min(error for p, error in errors.items() if p != "half_open/model")


def test_an_unknown_network_is_named():
    with pytest.raises(InputError, match="no network 'teapot'"):
        oob.cells(["teapot"])


def test_cells_can_be_measured_by_other_processes(tmp_path):
    run = run_oob(tmp_path / "oob.jsonl", names=[LINES], seeds=(0,), rows=32, workers=2)
    again = oob.measure(OutsideCell(LINES, 0, POLICIES[2]), 32)
    assert cell_of(run, LINES, POLICIES[2])["values"] == again
