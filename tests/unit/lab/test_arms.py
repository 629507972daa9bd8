"""Every arm computes the function that it is timed for."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import lutkan
from lutkan.errors import InputError
from lutkan.lab import nets
from lutkan.lab.arms import Contender, Skipped, errors, lineup, numpy_, own
from lutkan.lab.arms.lineup import RIVALS, compile_specs, line_up, rivals
from lutkan.lab.arms.numpy_ import uniform_layers
from lutkan.runtimes.model import RUNTIMES, available_runtimes

SHAPE = (7, 5, 3)
DRAWING = {model.family: model for model in (nets.efficient_kan(SHAPE), nets.fast_kan(SHAPE))}
DRAWING |= {model.family: model for model in (nets.kanditioned(SHAPE), nets.perceptron(SHAPE))}


@pytest.fixture
def rows() -> np.ndarray:
    """Rows in the grid, in its extension and far beyond, zeros and knots among them."""
    x = np.random.default_rng(3).uniform(-1.0, 1.0, size=(64, SHAPE[0])).astype(np.float32)
    x[16:32] *= 2.5
    x[32:40] *= 8.0
    x[40] = 0.0
    x[41:45] = np.array([-1.0, -0.6, 0.2, 1.0], dtype=np.float32)[:, None]
    return x


def make(rival):
    if rival.is_compiled:
        pytest.skip("compiled arms have a test of their own")
    pytest.importorskip(rival.package, reason=f"needs {rival.package}")
    module = importlib.import_module(f"lutkan.lab.arms.{rival.module}")
    return getattr(module, rival.function)(DRAWING[rival.family])


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_rivals_agree_with_the_float64_meaning_of_their_model(rival, rows):
    arm = make(rival)
    assert arm.name == rival.name
    assert arm.edges == 50
    assert arm.nbytes > 0
    wanted = DRAWING[rival.family].evaluate(rows)
    for batch in (1, len(rows)):
        found = np.asarray(arm.prepare(rows[:batch])())
        assert found.dtype == np.float32
        assert found.shape == (batch, SHAPE[-1])
        assert np.abs(found - wanted[:batch]).max() <= 1e-4 * (1 + np.abs(wanted).max())
    largest, mean, spread = errors(arm, rows[:16])
    assert 0 < mean <= largest <= 1e-4 < spread


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_a_call_can_be_repeated_and_batches_do_not_disturb_each_other(rival, rows):
    arm = make(rival)
    first, second = arm.prepare(rows[:9]), arm.prepare(rows[9:12])
    before = np.asarray(first()).copy()
    second()
    np.testing.assert_array_equal(np.asarray(first()), before)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's own code
def test_compiled_arms_agree_too():
    pytest.importorskip("torch", reason="needs torch")
    problem = lineup._compile_problem()
    if problem:
        pytest.skip(f"needs a C++ compiler for PyTorch: {problem}")
    from lutkan.lab.arms import torch_

    for name, draw in (("inkan_compiled", nets.efficient_kan), ("fast_kan_compiled", nets.fast_kan)):
        arm = getattr(torch_, name)(draw((4, 3)))
        assert errors(arm, 2 * nets.input_rows(4, 16))[0] <= 1e-4
        assert arm.kind == "compiled"


@pytest.mark.parametrize("spec", ["segment-int8-L64", "segment-uint8-L16"])
def test_the_edge_look_up_answers_as_the_artifact_does(spec, rows):
    numba_ = pytest.importorskip("lutkan.lab.arms.numba_", reason="needs numba")
    model = DRAWING["efficient-kan"]
    artifact = compile_specs(model, [spec])[spec]
    arm = numba_.edge_lut(artifact, model, spec)
    reference = lutkan.load(artifact, runtime="reference").predict(rows)
    # Between 8-bit steps only the arithmetic differs, float64 here and float32 there.
    np.testing.assert_allclose(np.asarray(arm.prepare(rows)()), reference, atol=1e-4)
    assert errors(arm, rows[:16])[0] < 0.2
    assert arm.kind == "look-up"


@pytest.mark.parametrize("spec", ["segment-int8-L64", "segment-uint8-L16", "segment-int8-L2"])
def test_the_numpy_look_up_answers_as_the_artifact_does(spec, rows):
    model = DRAWING["efficient-kan"]
    artifact = compile_specs(model, [spec])[spec]
    arm = numpy_.look_up(artifact, model, spec)
    reference = lutkan.load(artifact, runtime="reference").predict(rows)
    np.testing.assert_allclose(np.asarray(arm.prepare(rows)()), reference, atol=1e-4)
    assert (arm.name, arm.kind) == (f"numpy {spec}", "look-up")


def test_the_numpy_look_up_works_in_blocks(rows, monkeypatch):
    model = DRAWING["efficient-kan"]
    artifact = compile_specs(model, ["segment-uint8-L16"])["segment-uint8-L16"]
    call = numpy_.look_up(artifact, model, "").prepare(rows)
    whole = np.asarray(call()).copy()
    monkeypatch.setattr(numpy_, "_CHUNK", 7 * 35)
    np.testing.assert_array_equal(np.asarray(call()), whole)


def test_the_numpy_look_up_refuses_what_its_project_cannot_express():
    phi = lutkan.compile(DRAWING["efficient-kan"].network, lutkan.SegmentSpec(samples=4, value="phi"))
    with pytest.raises(InputError, match="one SiLU base table"):
        numpy_.look_up(phi, DRAWING["efficient-kan"], "")


@pytest.mark.parametrize("where", ["numpy_", "numba_"])
def test_the_recursion_an_edge_agrees_with_its_model(where, rows):
    module = pytest.importorskip(f"lutkan.lab.arms.{where}", reason="needs numba")
    model = DRAWING["efficient-kan"]
    arm = module.edge_bspline(model)
    assert arm.name == f"{where[:-1]} Cox-de Boor an edge"
    wanted = model.evaluate(rows)
    for batch in (1, len(rows)):
        found = np.asarray(arm.prepare(rows[:batch])())
        assert np.abs(found - wanted[:batch]).max() <= 1e-4 * (1 + np.abs(wanted).max())


def test_the_edge_look_up_refuses_what_its_project_cannot_express():
    numba_ = pytest.importorskip("lutkan.lab.arms.numba_", reason="needs numba")
    bumps = DRAWING["fast-kan"]
    artifact = lutkan.compile(bumps.network, "segment-int8-L16")
    with pytest.raises(InputError, match="one SiLU base table"):
        numba_.edge_lut(artifact, bumps, "segment-int8-L16")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_own_arms_answer_the_bits_of_the_reference(runtime, rows):
    if available_runtimes()[runtime]:
        pytest.skip(f"runtime {runtime} is not available here")
    model = DRAWING["efficient-kan"]
    for spec, artifact in compile_specs(model, ("int8", "int16", "segment-uint8-L16")).items():
        arm = own.on_runtime(artifact, model.evaluate, runtime, spec)
        assert isinstance(arm, Contender)
        assert (arm.name, arm.edges, arm.file_bytes) == (f"{runtime} {spec}", 50, artifact.nbytes)
        reference = lutkan.load(artifact, runtime="reference").predict(rows)
        np.testing.assert_array_equal(np.asarray(arm.prepare(rows)()).view(np.uint32), reference.view(np.uint32))
        if runtime == "native":
            alone = own.native_call(artifact, model.evaluate, spec)
            assert isinstance(alone, Contender)
            np.testing.assert_array_equal(np.asarray(alone.prepare(rows)()).view(np.uint32), reference.view(np.uint32))


def test_an_absent_runtime_is_skipped_with_its_reason(monkeypatch):
    model = DRAWING["efficient-kan"]
    artifact = compile_specs(model, ["int8"])["int8"]
    monkeypatch.setattr(own, "available_runtimes", lambda: {"native": "no compiler", "reference": ""})
    for arm in (
        own.on_runtime(artifact, model.evaluate, "native", "int8"),
        own.native_call(artifact, model.evaluate, "int8"),
    ):
        assert isinstance(arm, Skipped)
        assert "no compiler" in arm.reason
    assert isinstance(own.on_runtime(artifact, model.evaluate, "teapot", "int8"), Skipped)


def test_the_line_up_names_every_arm_once_and_says_why_one_is_missing(monkeypatch):
    find = lineup.importlib.util.find_spec
    monkeypatch.setattr(
        lineup.importlib.util, "find_spec", lambda name: None if name in ("torch", "onnxruntime") else find(name)
    )
    arms, checkpoint_bytes = line_up((4, 3), compiled=False)
    names = [arm.name for arm in arms]
    assert len(set(names)) == len(names)
    assert {rival.name for rival in RIVALS} <= set(names)
    assert {"native int8", "numba int8", "reference int8", "LUT-KAN layout segment-int8-L64"} <= set(names)
    reasons = {arm.name: arm.reason for arm in arms if isinstance(arm, Skipped)}
    assert reasons["nn.Linear"] == "torch is not installed"
    assert reasons["ONNX Runtime MLP"] == "onnxruntime is not installed"
    assert checkpoint_bytes == nets.efficient_kan((4, 3)).checkpoint_bytes


def test_large_networks_leave_out_what_would_not_fit(monkeypatch):
    monkeypatch.setattr(lineup, "_SEGMENT_EDGES", 10)
    monkeypatch.setattr(lineup, "RIVALS", tuple(rival for rival in RIVALS if rival.package == "numpy"))
    arms, _ = line_up((4, 3), compiled=False)
    reasons = {arm.name: arm.reason for arm in arms if isinstance(arm, Skipped)}
    for runtime in ("native", "numba", "LUT-KAN layout"):
        assert "too much memory" in reasons[f"{runtime} segment-int8-L64"]
    assert "native int8" not in reasons or "missing" in reasons["native int8"]


def test_rivals_beyond_their_size_or_without_torch_compile_are_skipped(monkeypatch):
    pytest.importorskip("torch", reason="needs torch")
    monkeypatch.setattr(
        lineup, "RIVALS", tuple(r for r in RIVALS if r.name in ("pykan speed", "inkan compiled", "inkan"))
    )
    models = {"efficient-kan": nets.efficient_kan((80, 80))}
    found = {arm.name: arm for arm in rivals(models, compiled=False)}
    assert found["pykan speed"] == Skipped("pykan speed", "run up to 5,000 edges only")
    assert found["inkan compiled"] == Skipped("inkan compiled", "torch.compile was switched off")
    assert isinstance(found["inkan"], Contender)


def test_weights_are_laid_out_by_input():
    model = DRAWING["efficient-kan"]
    spline, base, low, inverse = uniform_layers(model.state)[0]
    assert spline.shape == (7, 8, 5)
    assert base.shape == (7, 5)
    assert low == pytest.approx(-2.2)
    assert inverse == pytest.approx(2.5)
    weight = model.state["layers.0.spline_weight"][3, 2] * model.state["layers.0.spline_scaler"][3, 2]
    np.testing.assert_array_equal(spline[2, :, 3], weight)


def test_an_arm_of_another_shape_is_refused(rows):
    arm = Contender("x", "dense", lambda x: lambda: x[:, :1], lambda x: x.astype(np.float64), 1, 1)
    with pytest.raises(InputError, match="answers with shape"):
        errors(arm, rows)
