"""The error-budget search: it keeps its limits, beats flat specs, and says what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.errors import InputError, SpecError
from lutkan.ir import Affine, Branch, EdgeBank, KANLayer, NamedFunction, Network
from lutkan.search import SearchResult, estimated_ns, pareto_table, search_spec
from lutkan.search.budget import _spec_of
from lutkan.tables import BasisSpec
from lutkan.verify import measured_rows, verify

RNG = np.random.default_rng(0)
X = RNG.uniform(-1.0, 1.0, (300, 8))


def two_layers(first: float = 0.3, last: float = 0.3) -> Network:
    """8 -> 6 -> 3 with a base branch in each layer; the amplitudes are those of the splines."""
    rng = np.random.default_rng(4)
    return networks.network(
        KANLayer("layers.0", (networks.spline(rng, 8, 6, amplitude=first), networks.base(rng, 8, 6))),
        KANLayer("layers.1", (networks.spline(rng, 6, 3, amplitude=last), networks.base(rng, 6, 3))),
    )


NET = two_layers()


def found(**limits) -> SearchResult:
    return search_spec(NET, X, True, **limits)


@pytest.fixture(scope="module")
def everything() -> SearchResult:
    """A search that goes down to 2 bits."""
    return found(max_error=50.0)


def flat(bits: int) -> lutkan.Artifact:
    return lutkan.compile(NET, BasisSpec(coefficient_bits=bits), calibration=X, certificate=False)


def error_of(artifact: lutkan.Artifact) -> float:
    return verify(artifact, NET, measured_rows(X)).max_abs


@pytest.mark.parametrize("bits", [16, 8, 4, 3, 2])
def test_never_worse_than_a_flat_spec_of_equal_size(everything, bits):
    artifact = flat(bits)
    size, error = next(
        (c.bytes, c.max_abs) for c in everything.measured if c.spec == lutkan.Spec(BasisSpec(coefficient_bits=bits))
    )
    assert error == pytest.approx(error_of(artifact), rel=1e-9)
    by_size = found(target_bytes=size)
    assert by_size.chosen.bytes <= size and by_size.chosen.max_abs <= error
    by_error = found(max_error=error)
    assert by_error.chosen.max_abs <= error and by_error.chosen.bytes <= size


def test_errors_are_those_that_verify_measures(everything):
    for candidate in (everything.pareto[0], everything.pareto[-1], everything.chosen):
        report = verify(everything.artifacts[candidate.spec], NET, measured_rows(X))
        assert candidate.max_abs == pytest.approx(report.max_abs, rel=1e-9)
        assert candidate.mae == pytest.approx(report.mae, rel=1e-9)
        assert candidate.agreement == report.agreement


def test_the_spec_compiles_to_what_was_measured(everything):
    for candidate in everything.pareto:
        again = lutkan.compile(NET, candidate.spec, calibration=X, certificate=False)
        kept = everything.artifacts[candidate.spec]
        assert (
            again.program.steps[0].branches[0].table.q.tobytes() == kept.program.steps[0].branches[0].table.q.tobytes()
        )
        assert (again.golden_y == kept.golden_y).all()
        assert {**again.info, "verification": 0, "certificate": 0} == {**kept.info, "verification": 0, "certificate": 0}


def test_the_pareto_table_is_one(everything):
    rows = pareto_table(everything)
    sizes, errors = [row["bytes"] for row in rows], [row["max_abs"] for row in rows]
    assert sizes == sorted(set(sizes)) and errors == sorted(set(errors), reverse=True)
    assert len(rows) >= 5 and [row["chosen"] for row in rows].count(True) == 1
    for candidate in everything.measured:
        assert any(row["bytes"] <= candidate.bytes and row["max_abs"] <= candidate.max_abs for row in rows)
    assert {bits for row in rows for bits in (layer.split("-")[0] for layer in row["layers"])} >= {"16", "8", "4"}
    json.dumps(everything.to_json(), allow_nan=False)


def test_layers_are_weighed_by_what_they_do_to_the_output():
    """A layer whose errors hardly reach the output gets the fewest bits, the other one what the limit asks for."""
    first, last = NET.layers
    damped = networks.network(first, Affine(np.full(6, 1e-3), np.zeros(6)), last)
    limit = 1.5 * verify(lutkan.compile(damped, "int8", calibration=X), damped, X).max_abs
    result = search_spec(damped, X, True, max_error=limit)
    bits = [result.spec.for_layer(n, f"layers.{n}").coefficient_bits for n in range(2)]
    assert bits[0] <= 3 and bits[1] == 8


def test_without_a_limit_one_percent_of_the_spread():
    result = found()
    spread = verify(flat(8), NET, measured_rows(X)).spread
    assert result.met and result.criterion.endswith("1 % of the standard deviation of the outputs")
    assert result.chosen.max_abs <= 0.01 * spread
    assert all(c.bytes >= result.chosen.bytes for c in result.measured if c.max_abs <= 0.01 * spread)


def test_without_a_limit_the_most_exact_where_one_percent_is_out_of_reach():
    rng = np.random.default_rng(0)
    bank = EdgeBank(networks.bare_splines().layers[0].branches[0].bank.basis, 1e-4 * rng.normal(size=(2, 8, 1)))
    steady = networks.one_layer(
        Branch(bank), Branch(EdgeBank(NamedFunction("identity"), np.array([[[30.0003]], [[-30.0041]]]), role="base"))
    )
    level = np.repeat(rng.uniform(-1, 1, (100, 1)), 2, axis=1)  # the large parts nearly cancel
    result = search_spec(steady, level, True)
    assert not result.met
    assert result.chosen.max_abs == min(c.max_abs for c in result.measured)
    assert [row["chosen"] for row in pareto_table(result)].count(True) == 1


def test_few_bits_are_not_tried_for_a_tight_limit():
    tight = 2 * error_of(flat(16))
    tried = {layer.split("-")[0] for c in found(max_error=tight).measured for layer in c.layers}
    assert tried == {"16", "8"}
    assert {layer.split("-")[0] for c in found(target_bytes=10**6).measured for layer in c.layers} == {"16"}


def test_both_limits():
    loose = found(max_error=0.3)
    both = found(max_error=0.3, target_bytes=loose.chosen.bytes)
    assert both.chosen.spec == loose.chosen.spec


def test_what_cannot_be_met_names_the_best():
    best = found(target_bytes=10**6).chosen
    with pytest.raises(SpecError, match=rf"max_error = 1e-09: the most exact tables found reach .* {best.bytes} bytes"):
        found(max_error=1e-9)
    with pytest.raises(SpecError, match=r"target_bytes = 500: the smallest file found takes \d+ with a max error of"):
        found(target_bytes=500)
    with pytest.raises(SpecError, match=r"max_error = .* within \d+ bytes: the most exact that fits reaches"):
        found(max_error=2 * error_of(flat(16)), target_bytes=flat(8).nbytes)


def test_intervals_of_projected_edges_are_chosen():
    net = networks.chebyshev(6, 8)
    rows = np.random.default_rng(0).normal(size=(300, 6))
    result = search_spec(net, rows, True, max_error=0.5)
    assert any("k8" in layer or "k16" in layer for c in result.measured for layer in c.layers)
    named = lutkan.compile(net, "int8", calibration=rows, certificate=False)
    assert result.chosen.bytes < named.nbytes


@pytest.mark.parametrize("name", ["masked", "fast_kan", "switches", "adapted", "even_straight", "symbolic", "fourier"])
def test_every_family(name):
    net = getattr(networks, name)()
    rows = np.random.default_rng(1).uniform(-1, 1, (200, net.in_features))
    result = search_spec(net, rows, True, max_error=1.0)
    assert result.met
    assert verify(result.artifact, net, rows).max_abs == pytest.approx(result.chosen.max_abs, rel=1e-9)


def test_progress_is_told():
    told = []
    search_spec(networks.bare_splines(), X[:, :3], True, max_error=1.0, on_progress=told.append)
    assert told[0] == "layer 1 of 1 with 16-bit coefficients"
    assert any(text.startswith("combination ") for text in told)


def test_a_model_that_is_not_finite_on_the_rows():
    net = networks.symbolic()
    with pytest.raises(InputError, match="the model is not finite on the calibration rows"):
        search_spec(net, np.full((10, 2), np.inf), True)


def test_specs_of_layers_with_awkward_names():
    specs = [BasisSpec(16), BasisSpec(8), BasisSpec(4)]
    for names in (("a", "b", "c"), ("0", "2", "4"), ("x[1]", "*", "?")):
        spec = _spec_of(specs, names)
        assert [spec.for_layer(n, name) for n, name in enumerate(names)] == specs
    assert _spec_of([specs[0]] * 3, ("a", "b", "c")) == lutkan.Spec(specs[0])
    with pytest.raises(SpecError, match="cannot be told apart"):
        _spec_of(specs, ("1", "1", "1"))


def test_time_grows_with_bits_and_with_a_base_branch_apart():
    fine, coarse = (flat(bits).program for bits in (16, 8))
    assert estimated_ns(fine) > estimated_ns(coarse) > 0
    apart, fold = (
        lutkan.compile(networks.splines(64, 64), BasisSpec(base=base), certificate=False).program
        for base in ("apart", "fold")
    )
    assert estimated_ns(apart) > estimated_ns(fold)
    assert estimated_ns(coarse, [0.5, 0.0]) > estimated_ns(coarse)


def test_compile_auto_holds_its_limits_and_tells_the_search():
    artifact = lutkan.compile(NET, "auto", calibration=X, max_error=0.2)
    assert artifact.info["verification"]["max_abs"] <= 0.2
    search = artifact.manifest["search"]
    assert search["criterion"] == "max error at most 0.2" and search["met"] is True and search["rows"] == 300
    assert search["columns"] == ["bytes", "max_abs", "mae", "agreement", "estimated_ns", "layers"]
    assert len(search["pareto"]) >= 3
    assert lutkan.Spec.from_json(artifact.manifest["spec"]) == found(max_error=0.2).spec
    assert artifact.manifest["certificate"]["max_abs"] >= artifact.info["verification"]["max_abs"]
    lutkan.load(artifact, self_test=True)


def test_compile_auto_keeps_the_whole_file_within_its_bytes():
    small = found(target_bytes=10**6)
    sizes = sorted(c.bytes for c in small.measured)
    for target in (6800, sizes[0] + 1500, sizes[2] + 2500):
        assert lutkan.compile(NET, "auto", calibration=X, target_bytes=target).nbytes <= target
    with pytest.raises(SpecError, match=r"target_bytes = 1000: the smallest file found takes"):
        lutkan.compile(NET, "auto", calibration=X, target_bytes=1000)


def test_the_manifest_fits_the_schema():
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    schema = json.loads((Path(__file__).parents[3] / "docs" / "spec" / "artifact.schema.json").read_text())
    for net in (NET, networks.glued()):
        rows = np.random.default_rng(0).uniform(-1, 1, (50, net.in_features))
        artifact = lutkan.compile(net, "auto", calibration=rows, target_bytes=10**6)
        jsonschema.Draft202012Validator(schema).validate(artifact.manifest)
