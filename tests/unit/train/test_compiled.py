"""The compiled arithmetic of fake quantization is the portable one: equal bits forward, equal sums backward."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from live_kans import FAMILIES, stack  # noqa: E402
from lutkan import train  # noqa: E402
from lutkan.train import compiled, fake_quantize, portable  # noqa: E402
from lutkan.train import quantizers as Q  # noqa: E402
from lutkan.train.layer import kan_layers  # noqa: E402
from lutkan.train.look_up import look_up  # noqa: E402

pytestmark = pytest.mark.skipif(not compiled.available(), reason="needs the compiled kernels")

SHAPES = [(1, 1), (4, 8), (64, 33), (3, 70000)]
CLOSE = {"rtol": 2e-4, "atol": 2e-4}


def matrix(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_intervals(shape):
    w, grad = matrix(shape, 0), matrix(shape, 1)
    centre, width = 0.4 + 0.1 * matrix((shape[0], 1), 2), 0.5 + 0.1 * matrix((shape[0], 1), 3)
    parameters = centre, width, 1.0 + 0.2 * matrix((shape[0], 1), 4).clamp(-2, 2), 7.0
    found, wanted = compiled.interval(w, *parameters), portable.interval(w, *parameters)
    assert (~torch.isclose(found, wanted)).float().mean() <= 1e-4  # a power's last place may turn a rounding
    for a, b in zip(
        compiled.interval_back(w, grad, *parameters), portable.interval_back(w, grad, *parameters), strict=True
    ):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * math.sqrt(shape[1]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("per_row", [False, True], ids=["one range", "ranges of rows"])
def test_steps(shape, per_row):
    w, grad = matrix(shape, 0), matrix(shape, 1)
    raw = 0.3 * matrix((shape[0], 1), 2)
    ends = (torch.full_like(raw, -3.0), torch.full_like(raw, 2.0)) if per_row else (-3.0, 2.0)
    assert torch.equal(compiled.steps(w, raw, *ends), portable.steps(w, raw, *ends))
    found, wanted = (m.steps_back(w, grad, raw, *ends, factor=0.1, felt=True) for m in (compiled, portable))
    assert torch.equal(found[0], wanted[0])
    torch.testing.assert_close(found[1], wanted[1], **CLOSE)
    assert compiled.steps_back(w, grad, raw, *ends, factor=0.1, felt=False)[1] is None


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_bent_by_tanh(shape):
    w, grad = matrix(shape, 0), matrix(shape, 1)
    largest = w.abs().amax(1, keepdim=True)
    found, wanted = compiled.bent(w, largest, 15.0), portable.bent(w, largest, 15.0)
    # tanh differs in its last place, so that a weight at a border between levels may go either way
    assert (~torch.isclose(found, wanted)).float().mean() <= 1e-4
    torch.testing.assert_close(
        compiled.bent_back(w, grad, largest), portable.bent_back(w, grad, largest), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("per_row", [False, True], ids=["one range", "ranges of rows"])
def test_levels_and_stairs(shape, per_row):
    x, grad = matrix(shape, 0), matrix(shape, 1)
    low = matrix((shape[0], 1), 2) - 1.0 if per_row else torch.tensor(-1.1)
    raw = 0.2 * matrix((shape[0], 1), 3) if per_row else torch.tensor(-0.17)
    for found, wanted in zip(
        compiled.levels(x, low, raw, 15.0, coded=True), portable.levels(x, low, raw, 15.0, coded=True), strict=True
    ):
        assert torch.equal(found, wanted)
    assert compiled.levels(x, low, raw, 15.0, coded=False)[1] is None
    for rounding in (False, True):
        found, wanted = (m.levels_back(x, grad, low, raw, 15.0, rounding=rounding) for m in (compiled, portable))
        assert torch.equal(found[0], wanted[0])
        for a, b in zip(found[1:], wanted[1:], strict=True):
            assert a.shape == b.shape
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-2 * math.sqrt(shape[1]) / 100 + 2e-3)
    found, wanted = (m.stairs_back(x, grad, low, raw, 15.0, 0.4) for m in (compiled, portable))
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    for a, b in zip(found[1:], wanted[1:], strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-2 * math.sqrt(shape[1]) / 100 + 2e-3)


@pytest.mark.parametrize("width", [1, 3, 8])
def test_look_ups(width):
    table, codes = matrix((17, width), 0), torch.randint(0, 17, (9, 31), dtype=torch.int32)
    grad = matrix((9, 31, width), 1)
    assert torch.equal(compiled.look_up(table, codes), portable.look_up(table, codes))
    torch.testing.assert_close(compiled.look_up_back(table, codes, grad), portable.look_up_back(table, codes, grad))


def test_matrices_need_not_be_contiguous():
    w, raw = matrix((70, 5), 0).T, torch.full((5, 1), 0.2)
    assert torch.equal(compiled.steps(w, raw, -3.0, 2.0), portable.steps(w.contiguous(), raw, -3.0, 2.0))
    table, codes = matrix((8, 17), 1).T, torch.randint(0, 17, (31, 9), dtype=torch.int32).T
    assert torch.equal(compiled.look_up(table, codes), table[codes.long()])


@pytest.mark.parametrize("method", Q.METHODS)
def test_inputs_of_any_shape(method):
    quantizer = Q.METHODS[method][1](4)
    x = matrix((6, 20), 3)
    quantizer.init_from(x)
    for shape in ((120,), (2, 3, 20), (6, 20)):
        given = x.reshape(shape).clone().requires_grad_(True)
        found, codes = quantizer.quantize(given)
        assert found.shape == codes.shape == shape and torch.equal(found.reshape(6, 20), quantizer(x))
        found.sum().backward()
        assert given.grad.shape == shape


def test_wrong_sizes_never_reach_the_kernels():
    w = matrix((3, 8), 0)
    with pytest.raises(ValueError, match="3 numbers"):
        compiled.steps(w, torch.ones(2, 1), -3.0, 2.0)
    with pytest.raises(ValueError, match="24 numbers"):
        compiled.steps_back(w, w[:2], torch.ones(3, 1), -3.0, 2.0, factor=1.0, felt=True)
    with pytest.raises(ValueError, match="beyond the table"):
        compiled.look_up(matrix((4, 2), 0), torch.tensor([[0, 4]], dtype=torch.int32))
    with pytest.raises(ValueError, match="beyond the table"):
        compiled.look_up(matrix((4, 2), 0), torch.tensor([[0, -1]], dtype=torch.int32))


@pytest.mark.parametrize("module", [compiled, portable])
def test_nan_has_the_code_after_the_last(module):
    found, codes = module.levels(
        torch.tensor([[0.0, math.nan, 9.0]]), torch.tensor(-1.0), torch.tensor(0.1), 15.0, coded=True
    )
    assert codes.tolist() == [[10, 16, 15]]
    assert math.isnan(found[0, 1])


def test_other_dtypes_are_portable():
    assert fake_quantize.arithmetic(torch.ones(1)) is compiled
    assert fake_quantize.arithmetic(torch.ones(1, dtype=torch.float64)) is portable


@pytest.mark.parametrize("method", Q.METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_training_goes_the_same_way(family, method, monkeypatch):
    """A step of training with either arithmetic: the same loss, and gradients that agree."""
    X = torch.rand(40, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1
    losses, gradients = [], []
    for here in (True, False):
        monkeypatch.setattr(compiled, "available", lambda here=here: here)
        torch.manual_seed(0)
        model = train.prepare(stack(family, 6, 5, 3), "w4a4", method=method)
        train.calibrate(model, X)
        loss = (model(X) ** 2).mean()
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert len(gradients[0]) == len(gradients[1]) > 3
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("here", [True, False], ids=["compiled", "portable"])
def test_a_nan_is_not_lost(here, monkeypatch):
    monkeypatch.setattr(compiled, "available", lambda: here)
    torch.manual_seed(0)
    X = torch.rand(40, 6) * 2 - 1
    model = train.prepare(stack("efficient-kan", 6, 5, 3), "w4a4")
    train.calibrate(model, X)
    X[3, 2] = math.nan
    answer = model(X)
    assert torch.isnan(answer[3]).all() and not torch.isnan(answer[[0, 1, 2, 4]]).any()


def gradients(model, X):
    """One step: the answers, and the gradients by parameter."""
    model.zero_grad()
    answer = model(X)
    (answer.double() ** 2).mean().backward()
    return answer.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def prepared(method="lsq+", spec="w4a4"):
    torch.manual_seed(0)
    model = train.prepare(stack("efficient-kan", 6, 5, 3), spec, method=method)
    X = torch.rand(40, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1
    train.calibrate(model, X)
    return model, X


@pytest.mark.parametrize("method", Q.METHODS)
def test_parameters_of_other_dtypes_never_reach_the_kernels(method, monkeypatch):
    """Weights in float32 with quantizers in bfloat16, and a float64 model on float32 rows: as without kernels."""
    for change in (
        lambda model: [
            layer.weight_quantizers.to(torch.bfloat16) for layer in model.modules() if hasattr(layer, "told")
        ],
        lambda model: model.double(),
    ):
        results = []
        for here in (True, False):
            monkeypatch.setattr(compiled, "available", lambda here=here: here)
            model, X = prepared(method)
            change(model)
            results.append(gradients(model, X))
        assert torch.equal(results[0][0], results[1][0])
        assert results[0][1].keys() == results[1][1].keys()
        for name, gradient in results[0][1].items():
            torch.testing.assert_close(gradient, results[1][1][name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_torchs_default_dtype_changes_nothing(dtype):
    model, X = prepared()
    wanted = gradients(model, X)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        found = gradients(model, X)
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found[0], wanted[0])
    assert all(torch.equal(gradient, wanted[1][name]) for name, gradient in found[1].items())


def test_tensors_without_memory_never_reach_the_kernels():
    w = matrix((3, 8), 0)
    for other in (w.to("meta"), w.double(), w.to_sparse(), w.half()):
        assert fake_quantize.arithmetic(w, other) is portable
        assert not compiled.takes(other)
        with pytest.raises(ValueError, match="where kernels read float32"):
            compiled.steps(other, torch.ones(3, 1), -3.0, 2.0)
    with torch.device("meta"):
        assert compiled.steps(w, torch.ones(3, 1, device="cpu"), -3.0, 2.0).device.type == "cpu"
    with pytest.raises(ValueError, match=r"codes of torch\.int64"):
        compiled.look_up(matrix((4, 2), 0), torch.tensor([[0, 1]]))
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        assert fake_quantize.arithmetic(torch.ones(3, 8)) is portable


@pytest.mark.filterwarnings("ignore")  # what torch says of its own tracing
@pytest.mark.parametrize("method", ["lsq+", "qil", "dsq"])
def test_a_compiled_model_answers_the_same(method):
    model, X = prepared(method)
    wanted = gradients(model, X)
    torch._dynamo.reset()
    found = gradients(torch.compile(model, backend="eager"), X)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradients_that_training_uses_are_those_of_the_features(family):
    """Looked-up slopes, which a plain backward pass takes, against the recorded graph of the features themselves."""
    _, X = prepared()
    torch.manual_seed(0)
    model = train.prepare(stack(family, 6, 5, 3), "w8a8", method="lsq+")
    train.calibrate(model, X)
    first = kan_layers(model)[0]
    quantizer = first.input_quantizer
    x, codes = (t.detach() for t in quantizer.quantize(X))
    for name in first.names:
        basis = first.bases[name]
        if not basis.shared or len(first.pre[name]):
            continue
        given = torch.randn(*x.shape, basis.size, generator=torch.Generator().manual_seed(5))
        at, same = (x.clone().requires_grad_(True) for _ in range(2))
        look_up(basis, at, codes, quantizer.points()).backward(given)
        basis(same.double()).backward(given.double())
        torch.testing.assert_close(at.grad, same.grad, rtol=2e-4, atol=2e-4)
        assert at.grad.abs().max() > 0.1


def test_the_largest_weight_of_the_moment_belongs_to_its_forward_pass():
    """DoReFa's buffer of maxima is written by every forward pass; the backward pass of an earlier one keeps its own."""
    quantizer, w = Q.DoReFaWeight(2, 4), matrix((2, 30), 0).requires_grad_(True)
    quantizer.init_from(w)
    (alone,) = torch.autograd.grad(quantizer(w).sum(), w)
    first = quantizer(w).sum()
    quantizer(5.0 * w.detach())
    assert torch.equal(torch.autograd.grad(first, w)[0], alone)


def test_a_softness_that_is_held_has_no_gradient():
    w = matrix((2, 30), 0)
    for alpha, learned in ((0.3, True), (0.01, False), (0.7, False)):
        quantizer = Q.DSQWeight(2, 3)
        quantizer.init_from(w)
        with torch.no_grad():
            quantizer.alpha.fill_(alpha)
        quantizer(w).pow(2).sum().backward()
        assert bool(quantizer.alpha.grad.abs() > 0) == learned


def test_a_step_below_zero_is_its_size():
    """Gradients of a step given as a negative number are those of its magnitude, with the other sign."""
    w = matrix((2, 30), 0)
    results = []
    for sign in (1.0, -1.0):
        quantizer = Q.DSQWeight(2, 3)
        quantizer.init_from(w)
        with torch.no_grad():
            quantizer.step.mul_(sign)
        (quantizer(w) * w).sum().backward()
        results.append(quantizer.step.grad)
    torch.testing.assert_close(results[0], -results[1])
    assert (results[0] != 0).all()
