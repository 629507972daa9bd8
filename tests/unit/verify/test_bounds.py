"""Certified bounds: never below an error, close to the worst one, and honest where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.artifact.program import BranchOp, KANOp, Program, SplineTable
from lutkan.errors import InputError, SpecError, VerificationError
from lutkan.ir import Branch, BSpline, EdgeBank, KANLayer, LayerNorm, Network
from lutkan.runtimes import reference
from lutkan.tables import BasisSpec, SegmentSpec
from lutkan.verify import Certificate, certificate_work, certify
from lutkan.verify.bounds import _short
from lutkan.verify.table_error import table_error

SPECS = {
    "float32": "float32",
    "int16": "int16",
    "int8": "int8",
    "int4": "int4",
    "int8 with 2 positions an interval": BasisSpec(position_bits=1),
    "int16 with 1 position an interval": BasisSpec(16, position_bits=0),
    "int8, base apart": BasisSpec(base="apart"),
    "int16, rows that reach half of the inputs": BasisSpec(16, cover=0.5),
    "int8 segments": SegmentSpec(16),
    "uint8 segments": SegmentSpec(5, dtype="uint8"),
    "nearest": SegmentSpec(8, interpolation="nearest"),
    "clip": SegmentSpec(12, oob_policy="clip_x"),
    "zero, closed": SegmentSpec(12, oob_policy="zero_spline", boundary_mode="closed"),
    "phi": SegmentSpec(16, value="phi", oob_policy="clip_x"),
    "own domain": SegmentSpec(16, segments=7, domain=(-2.0, 2.0), oob_policy="clip_x"),
}
NETS = {
    "splines": networks.splines,
    "bare splines": networks.bare_splines,
    "quadratic": lambda: networks.bare_splines(degree=2),
    "linear splines": lambda: networks.splines(degree=1, name="relu"),
    "adapted knots": networks.adapted,
    "repeated knots": networks.clamped,
    "Gaussians behind LayerNorm": networks.fast_kan,
    "switches": networks.switches,
    "polynomials": networks.chebyshev,
    "GRAM": lambda: networks.one_layer(
        networks.polynomial(np.random.default_rng(1), 3, 2, family="legendre", degree=3)
    ),
    "Fourier": networks.fourier,
    "piecewise linear": networks.straight,
    "evenly piecewise linear": networks.even_straight,
    "symbolic": networks.symbolic,
    "masked": networks.masked,
    "glued": networks.glued,
}


def box(net: Network, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    return np.full(net.in_features, low), np.full(net.in_features, high)


def rows_in(low: np.ndarray, high: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows inside a box, one in five at a corner of it."""
    inside = rng.uniform(low, high, (count - count // 5, len(low)))
    corners = np.where(rng.random((count // 5, len(low))) < 0.5, low, high)
    return np.clip(np.concatenate([inside, corners]), low, high).astype(np.float32)


def largest_error(artifact: lutkan.Artifact, net: Network, x: np.ndarray) -> np.ndarray:
    """Largest error of every output, [out]."""
    with np.errstate(all="ignore"):
        return np.abs(reference.run(artifact.program, x) - net.evaluate(x.astype(np.float64))).max(axis=0)


def layer_errors(artifact: lutkan.Artifact, net: Network, step: int, x: np.ndarray) -> np.ndarray:
    """Largest error of every computed output of a layer, [live outputs]."""
    op = artifact.program.steps[step]
    outputs = slice(None) if op.outputs is None else op.outputs
    with np.errstate(all="ignore"):
        error = np.abs(reference.run_kan(op, x) - net.steps[step].evaluate(x.astype(np.float64)))
    return error.max(axis=0)[outputs], outputs


def require_bound(certificate: Certificate, artifact: lutkan.Artifact, net: Network, count: int, rng) -> None:
    """Check a certificate on rows in its boxes."""
    x = rows_in(certificate.low, certificate.high, count, rng)
    if certificate.error is not None:
        error = largest_error(artifact, net, x)
        assert (error <= certificate.error).all(), (error, certificate.error)
    for layer in certificate.layers:
        if layer.error is None:
            assert layer.reason
            continue
        x = rows_in(layer.low, layer.high, count, rng)
        error, outputs = layer_errors(artifact, net, layer.step, x)
        assert (error <= layer.error[outputs]).all(), (layer.step, error, layer.error)


@pytest.mark.parametrize("name", NETS)
def test_bounds_hold_for_every_spec(name):
    net, tried = NETS[name](), 0
    rng = np.random.default_rng(len(name))
    calibration = rng.normal(size=(200, net.in_features))
    for spec in SPECS.values():
        try:
            artifact = lutkan.compile(net, spec, calibration=calibration, certificate=False)
        except SpecError:
            continue
        tried += 1
        for low, high in ((-0.9, 0.9), (-1.0, 1.0), (-3.0, 4.0), (0.25, 0.25)):
            require_bound(certify(artifact, net, box(net, low, high)), artifact, net, 250, rng)
    assert tried >= 3


def worst_row(artifact: lutkan.Artifact, net: Network, low: float, high: float, output: int, sign: int) -> np.ndarray:
    """The row that makes a one-layer network err the most, input by input: errors of edges add up."""
    points = np.linspace(low, high, 40001).astype(np.float32)
    row = np.zeros(net.in_features, dtype=np.float32)
    for i in range(net.in_features):
        x = np.zeros((len(points), net.in_features), dtype=np.float32)
        x[:, i] = points
        error = reference.run(artifact.program, x)[:, output] - net.evaluate(x.astype(np.float64))[:, output]
        row[i] = points[np.argmax(sign * error)]
    return row


@pytest.mark.parametrize(
    ("net", "spec", "within"),
    [
        (networks.bare_splines(), "int8", 1.02),
        (networks.bare_splines(), "int16", 1.1),
        (networks.splines(), BasisSpec(base="fold"), 1.02),
        (networks.splines(), BasisSpec(base="apart"), 1.3),
        (networks.chebyshev(), "int8", 1.05),
        (networks.switches(), "int8", 1.05),
        (networks.bare_splines(), SegmentSpec(16), 1.05),
        (networks.even_straight(), "int16", 1.05),
        (networks.adapted(), BasisSpec(8), 1.6),
    ],
)
def test_the_worst_row_nearly_reaches_the_bound(net, spec, within):
    """Inputs vary independently, so the sum of the edges' worst errors is an error that happens."""
    artifact = lutkan.compile(
        net, spec, calibration=np.random.default_rng(0).uniform(-1.9, 1.9, (500, net.in_features))
    )
    certificate = certify(artifact, net, (-1.8, 1.7))
    for output in range(net.out_features):
        reached = max(
            largest_error(artifact, net, worst_row(artifact, net, -1.8, 1.7, output, sign)[None])[output]
            for sign in (-1, 1)
        )
        assert reached <= certificate.error[output] <= within * reached


def two_layers(seed: int = 0, widths: tuple[int, ...] = (6, 5, 3)) -> Network:
    rng = np.random.default_rng(seed)
    layers = []
    for index, (n_in, n_out) in enumerate(pairwise(widths)):
        branches = (networks.spline(rng, n_in, n_out, amplitude=0.3), networks.base(rng, n_in, n_out))
        layers.append(KANLayer(f"layers.{index}", branches))
    return networks.network(*layers)


@pytest.mark.parametrize("spec", ["int16", "int8", "int4", "segment-int8-L64"])
def test_hundred_thousand_rows_of_two_and_three_layers(spec):
    rng = np.random.default_rng(7)
    for net in (two_layers(1), two_layers(2, (4, 6, 4, 2))):
        artifact = lutkan.compile(net, spec, certificate=False)
        certificate = certify(artifact, net, box(net, -1.0, 1.0))
        require_bound(certificate, artifact, net, 4000, rng)
        x = rows_in(certificate.low, certificate.high, 12500, rng)
        error = np.abs(lutkan.load(artifact).predict(x) - net.evaluate(x)).max(axis=0)
        assert (error <= certificate.error).all()
        assert certificate.max <= 150 * error.max()


def test_changed_tables_change_the_bound():
    """The bound is that of the tables in the artifact, not of those it should have."""
    net = networks.bare_splines()
    artifact = lutkan.compile(net, "int8")
    before = certify(artifact, net, (-1.0, 1.0))
    for change in ("codes", "low", "scale"):
        op = artifact.program.steps[0]
        table = op.branches[0].table
        if change == "codes":
            q = table.q.copy()
            q[1, 4, 2] = -q[1, 4, 2]
            changed = replace(table, q=q)
        elif change == "low":
            changed = replace(table, low=table.low + np.float32(0.01))
        else:
            changed = replace(table, scale=table.scale * np.float32(1.05))
        program = Program(3, (replace(op, branches=(BranchOp((), changed),)),))
        other = replace(artifact, program=program, golden_x=None, golden_y=None)
        after = certify(other, net, (-1.0, 1.0))
        assert after.max > 1.5 * before.max
        require_bound(after, other, net, 2000, np.random.default_rng(1))


def test_a_wider_domain_has_a_larger_bound():
    net = two_layers()
    artifact = lutkan.compile(net, "int8")
    bounds = [certify(artifact, net, (-reach, reach)).error for reach in (0.1, 0.5, 1.0, 3.0)]
    assert all((a <= b).all() for a, b in pairwise(bounds))
    default = certify(artifact, net)
    assert (default.low == -1.0).all() and default.error == pytest.approx(bounds[2], rel=1e-3)


def test_layer_norm_behind_an_error_has_no_bound_and_layers_still_do():
    rng = np.random.default_rng(0)
    net = networks.network(
        KANLayer("first", (networks.spline(rng, 3, 4),)),
        LayerNorm(4),
        KANLayer("last", (networks.spline(rng, 4, 2),)),
    )
    artifact = lutkan.compile(net, "int8")
    certificate = certify(artifact, net)
    assert certificate.error is None and certificate.max is None
    assert certificate.reason.startswith("step 1: LayerNorm: no finite bound")
    assert [layer.reason for layer in certificate.layers] == ["", ""]
    assert artifact.manifest["certificate"]["max_abs"] is None
    assert "LayerNorm" in artifact.manifest["certificate"]["reason"]
    assert "none (step 1: LayerNorm" in certificate.to_text()


def test_layer_norm_with_a_bounded_variance_has_a_bound():
    """Features whose ranges are far apart cannot have a small variance."""
    rng = np.random.default_rng(0)
    bias = np.array([-40.0, 0.0, 40.0, 0.0])
    net = networks.network(
        KANLayer("first", (networks.spline(rng, 3, 4),), bias),
        LayerNorm(4),
        KANLayer("last", (networks.spline(rng, 4, 2),)),
    )
    artifact = lutkan.compile(net, "int8")
    certificate = certify(artifact, net, (-1.0, 1.0))
    assert certificate.max is not None
    require_bound(certificate, artifact, net, 5000, rng)


def test_edges_with_a_pole_have_no_bound():
    net = networks.symbolic()
    bank = net.layers[0].branches[0].bank
    poles = networks.one_layer(
        Branch(replace(bank, names=("sin", "1/x"), affine=np.tile([1.0, 0.0, 1.0, 0.0], (4, 1))))
    )
    artifact = lutkan.compile(poles, SegmentSpec(16, domain=(0.5, 2.0), oob_policy="clip_x"), domain=(0.5, 2.0))
    assert certify(artifact, poles, (0.5, 2.0)).max is not None
    lost = certify(artifact, poles, (-0.5, 2.0))
    assert lost.error is None and lost.layers[0].error is None
    assert "no finite range" in lost.reason
    assert lost.to_text().count("none (step 0: the model has no finite range") == 1
    json.dumps(lost.to_json(), allow_nan=False)


def test_splines_that_jump_have_no_network_bound():
    net = networks.clamped()
    artifact = lutkan.compile(net, SegmentSpec(16, oob_policy="zero_spline"))
    assert certify(artifact, net, (-0.95, 0.95)).max is not None
    jumping = certify(artifact, net, (-1.0, 1.0))
    assert jumping.layers[0].low.max() == -1.0
    require_bound(jumping, artifact, net, 3000, np.random.default_rng(0))


def test_a_float32_spline_table():
    net = networks.bare_splines()
    bank = net.layers[0].branches[0].bank
    knots = bank.basis.extended_knots
    op = lutkan.compile(net, "int16").program.steps[0]
    step = np.diff(knots[0]).mean()
    table = SplineTable(
        segments=11,
        degree=3,
        shift=3,
        outside="hold",
        low=np.array([knots[0, 0]], dtype=np.float32),
        inverse=np.array([1.0 / step], dtype=np.float32),
        rows=bank.weights.astype(np.float32),
    )
    program = Program(3, (replace(op, branches=(BranchOp((), table),)),))
    for reach in (0.9, 3.0):
        low, high = np.full(3, -reach), np.full(3, reach)
        found = table_error(table, net.layers[0].branches, low, high)
        bound = np.maximum(found.high.sum(axis=0), -found.low.sum(axis=0)) + found.rounding
        x = rows_in(low, high, 20000, np.random.default_rng(0))
        error = np.abs(reference.run(program, x) - net.evaluate(x.astype(np.float64))).max(axis=0)
        assert (error <= bound).all() and (bound < 30 * error).all()


def test_a_float32_spline_table_with_straight_tails():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(2, 9, 3)).astype(np.float32)
    table = SplineTable(6, 3, 0, "linear", np.float32([-1.0]), np.float32([3.0]), rows)
    knots = -1.0 + np.arange(-3, 10) / 3.0
    net = networks.one_layer(Branch(EdgeBank(BSpline(knots[None], 3), rows.astype(np.float64))))
    op = KANOp("a", 2, 3, None, None, None, (BranchOp((), table),))
    for low, high in ((-0.99, 0.99), (-2.5, 2.0)):
        found = table_error(table, net.layers[0].branches, np.full(2, low), np.full(2, high))
        bound = np.maximum(found.high.sum(axis=0), -found.low.sum(axis=0)) + found.rounding
        x = rows_in(np.full(2, low), np.full(2, high), 20000, rng)
        error = np.abs(reference.run_kan(op, x) - net.evaluate(x.astype(np.float64))).max(axis=0)
        assert (error <= bound).all()


def test_the_certificate_is_json_and_text():
    net = two_layers()
    certificate = certify(lutkan.compile(net, "int8"), net)
    data = json.loads(json.dumps(certificate.to_json(), allow_nan=False))
    assert data["max_abs"] == max(data["error"]) == certificate.max
    assert [layer["name"] for layer in data["layers"]] == ["layers.0", "layers.1"]
    assert len(data["layers"][1]["low"]) == 5 and len(data["layers"][1]["error"]) == 3
    lines = certificate.to_text().splitlines()
    assert lines[0].startswith("certified on inputs in [-1, 1]: |artifact - model| at most ")
    assert len(lines) == 3


def test_the_manifest_holds_a_bound_that_is_rounded_up():
    net = two_layers()
    X = np.random.default_rng(0).uniform(-0.7, 0.6, (200, 6))
    artifact = lutkan.compile(net, "int8", calibration=X)
    held = artifact.manifest["certificate"]
    exact = certify(artifact, net, (X.min(axis=0), X.max(axis=0)))
    assert exact.max <= held["max_abs"] <= 1.01 * exact.max
    assert held["domain"][0] <= X.min() and held["domain"][1] >= X.max()
    for layer, short in zip(exact.layers, held["layers"], strict=True):
        assert layer.max <= short["max_abs"] <= 1.01 * layer.max
    assert held["max_abs"] >= artifact.manifest["verification"]["max_abs"]


@pytest.mark.parametrize("value", [0.0, 1.0, 0.123456, -0.123456, 9.999e-7, 123456.0, -99999.0, 2.5e-300])
def test_short_numbers_lie_outside(value):
    assert _short(value, 1) >= value >= _short(value, -1)
    assert abs(_short(value, 1) - value) <= 0.011 * abs(value)
    assert _short(None, 1) is None


def test_asking_for_a_certificate_or_not():
    net = networks.splines()
    assert lutkan.compile(net, "int8").info["certificate"]["max_abs"] > 0
    refused = lutkan.compile(net, "int8", certificate=False).info["certificate"]
    assert refused == {"max_abs": None, "reason": "not asked for"}
    big = networks.splines(40, 300)
    artifact = lutkan.compile(big, "int16")
    assert certificate_work(artifact) > 50_000_000
    assert artifact.info["certificate"]["reason"].startswith("not computed: ")
    assert lutkan.compile(big, "int8", certificate=True, domain=(-0.1, 0.1)).info["certificate"]["max_abs"] > 0


def test_points_and_bad_domains():
    net = networks.splines()
    artifact = lutkan.compile(net, "int8")
    point = certify(artifact, net, (np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.3])))
    x = np.array([[0.1, 0.2, 0.3]])
    assert lutkan.verify(artifact, net, x).max_abs <= point.max
    for domain in ((1.0, -1.0), (0.0, np.inf), (0.0,), "ab", (np.zeros(2), np.ones(2))):
        with pytest.raises(SpecError, match="domain = "):
            certify(artifact, net, domain)


def test_what_is_refused():
    net = networks.splines()
    artifact = lutkan.compile(net, "int8")
    with pytest.raises(InputError, match="artifact is a Network"):
        certify(net, artifact)
    with pytest.raises(InputError, match="net is a str"):
        certify(artifact, "net")
    with pytest.raises(VerificationError):
        certify(artifact, networks.splines(4, 4))


@pytest.mark.parametrize("name", NETS)
def test_enormous_and_tiny_inputs(name):
    """Where float32 overflows nothing is claimed; everywhere else the bound holds."""
    net = NETS[name]()
    artifact = lutkan.compile(net, "int8", certificate=False)
    rng = np.random.default_rng(0)
    for reach in (1e-42, 1e-30, 1e4, 1e12, 1e30, 3e38):
        certificate = certify(artifact, net, box(net, -reach, reach))
        x = rows_in(certificate.low, certificate.high, 200, rng)
        with np.errstate(all="ignore"):
            y, exact = reference.run(artifact.program, x), net.evaluate(x.astype(np.float64))
        if certificate.error is not None:
            assert (np.abs(y - exact) <= certificate.error).all(), reach
        json.dumps(certificate.to_json(), allow_nan=False)
        json.dumps(certificate.summary(), allow_nan=False)
        assert certificate.to_text()


EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("spec", ["int16", "int8", "int4", "segment-int8-L64"])
def test_bounds_of_the_example_are_tight(spec):
    """Bound over largest error on real rows: at most 15 for a layer, 150 for both."""
    net = lutkan.import_model(EXAMPLES / "digits.safetensors")
    calibration = np.load(EXAMPLES / "digits_calibration.npz")["X"]
    X = np.concatenate([calibration, np.load(EXAMPLES / "digits_test.npz")["X"]])
    artifact = lutkan.compile(net, spec, calibration=calibration, certificate=False)
    certificate = certify(artifact, net, (X.min(axis=0), X.max(axis=0)))
    report = lutkan.verify(artifact, net, X)
    assert report.max_abs <= certificate.max <= 150 * report.max_abs
    for layer, measured in zip(certificate.layers, report.layers, strict=True):
        assert measured.total.max_abs <= layer.max <= 15 * measured.total.max_abs


@pytest.mark.parametrize("family", ["efficient_kan", "pykan"])
def test_bounds_of_trained_digits_are_tight(golden_models, family):
    case = golden_models / family / "digits_64x32x10"
    config = json.loads((case / "config.json").read_text())["not_in_state_dict"]
    net = lutkan.import_model(case / "model.safetensors", config=config)
    with np.load(case / "data.npz") as data:
        calibration, X = data["X_calib"], np.concatenate([data["X_calib"], data["X_test"]])
    artifact = lutkan.compile(net, "int8", calibration=calibration, certificate=False)
    certificate = certify(artifact, net, (X.min(axis=0), X.max(axis=0)))
    report = lutkan.verify(artifact, net, X)
    assert report.max_abs <= certificate.max <= 150 * report.max_abs
    for layer, measured in zip(certificate.layers, report.layers, strict=True):
        assert measured.total.max_abs <= layer.max <= 15 * measured.total.max_abs
