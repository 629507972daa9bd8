from __future__ import annotations

import numpy as np
import pytest

from checkpoints import close, rows
from lutkan.adapters import import_model
from lutkan.adapters.live import ModuleRunner, is_live_module
from lutkan.errors import ImportModelError
from lutkan.ir import Activation, KANLayer

torch = pytest.importorskip("torch", reason="needs torch")
nn = torch.nn
F = nn.functional


class Spline(nn.Module):
    """A layer with the tensors, attributes and formula of efficient-kan."""

    def __init__(self, n_in, n_out, *, seed=0, activation=nn.SiLU, intervals=4, degree=3):
        super().__init__()
        make = torch.Generator().manual_seed(seed)
        step = 2.0 / intervals
        knots = (torch.arange(-degree, intervals + degree + 1) * step - 1.0).repeat(n_in, 1)
        self.register_buffer("grid", knots + 0.01 * torch.arange(n_in)[:, None])
        self.base_weight = nn.Parameter(torch.randn(n_out, n_in, generator=make))
        self.spline_weight = nn.Parameter(0.3 * torch.randn(n_out, n_in, intervals + degree, generator=make))
        self.spline_scaler = nn.Parameter(torch.randn(n_out, n_in, generator=make))
        self.base_activation = activation()
        self.degree = degree

    def bases(self, x):
        x, t = x[..., None], self.grid
        b = ((x >= t[:, :-1]) & (x < t[:, 1:])).to(x.dtype)
        for k in range(1, self.degree + 1):
            rising = (x - t[:, : -(k + 1)]) / (t[:, k:-1] - t[:, : -(k + 1)]) * b[..., :-1]
            b = rising + (t[:, k + 1 :] - x) / (t[:, k + 1 :] - t[:, 1:-k]) * b[..., 1:]
        return b

    def forward(self, x):
        weight = self.spline_weight * self.spline_scaler[..., None]
        return F.linear(self.base_activation(x), self.base_weight) + torch.einsum("nic,oic->no", self.bases(x), weight)


class Cheby(nn.Module):
    """A layer with the tensors and formula of ChebyKAN."""

    def __init__(self, n_in, n_out, degree=3):
        super().__init__()
        make = torch.Generator().manual_seed(11)
        self.cheby_coeffs = nn.Parameter(torch.randn(n_in, n_out, degree + 1, generator=make))
        self.register_buffer("arange", torch.arange(degree + 1))

    def forward(self, x):
        angle = torch.acos(torch.tanh(x))[..., None] * self.arange
        return torch.einsum("nid,iod->no", torch.cos(angle), self.cheby_coeffs)


class Wrapper(nn.Module):
    """Submodules by keyword, and a forward pass given as a function of the module and x."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.how = forward

    def forward(self, x):
        return self.how(self, x)


def float64(module, x):
    """The module's own answer in float64, evaluation mode."""
    twin = ModuleRunner(module).run(np.asarray(x, dtype=np.float64))
    assert twin.dtype == "float64"
    return twin.y


def agrees(module, n_in=3, **kwargs):
    net = import_model(module, **kwargs)
    x = rows(n_in).astype(np.float32).astype(np.float64)
    assert close(net.evaluate(x), float64(module, x), 1e-10)
    return net


def test_a_single_layer():
    net = agrees(Spline(3, 4))
    assert net.source.family == "efficient-kan" and net.source.defaults_taken == ()
    assert len(net.source.checkpoint_sha256) == 64
    assert any("checked against the module itself on 64 rows (float64)" in text for text in net.source.notes)


def test_attributes_tell_what_a_state_dict_lacks():
    layer = Spline(3, 4, activation=nn.GELU)
    net = agrees(layer)
    assert net.layers[0].branches[1].bank.basis.name == "gelu"
    assert "silu" in import_model(layer.state_dict()).source.defaults_taken[0]  # the same tensors alone


def batch_norm(n):
    norm = nn.BatchNorm1d(n)
    make = torch.Generator().manual_seed(3)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        tensor.data = torch.randn(n, generator=make)
    norm.running_var = torch.rand(n, generator=make) + 0.1
    return norm


def prelu(n):
    act = nn.PReLU(n)
    act.weight.data = torch.linspace(-0.5, 0.5, n)
    return act


def layer_norm(n):
    norm = nn.LayerNorm(n, eps=1e-3)
    norm.weight.data, norm.bias.data = torch.linspace(0.5, 2, n), torch.linspace(-1, 1, n)
    return norm


@pytest.mark.parametrize(
    "between",
    [
        lambda: nn.Linear(4, 4),
        lambda: nn.Linear(4, 4, bias=False),
        lambda: batch_norm(4),
        lambda: nn.BatchNorm1d(4, affine=False),
        lambda: layer_norm(4),
        lambda: nn.LayerNorm(4, elementwise_affine=False),
        lambda: nn.SiLU(),
        lambda: nn.GELU(),
        lambda: nn.GELU(approximate="tanh"),
        lambda: nn.ReLU(),
        lambda: nn.Tanh(),
        lambda: nn.Sigmoid(),
        lambda: nn.Mish(),
        lambda: nn.ELU(),
        lambda: prelu(4),
        lambda: nn.PReLU(),
        lambda: nn.LeakyReLU(0.2),
        lambda: nn.Dropout(0.5),
        lambda: nn.Identity(),
        lambda: nn.Flatten(),
    ],
)
def test_ordinary_modules_between_kan_layers(between):
    module = nn.Sequential(Spline(3, 4), between(), Spline(4, 2, seed=1))
    agrees(module)


def test_nested_containers_and_prefixes():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.ModuleDict(
                {"kan": nn.ModuleList([nn.Sequential(nn.LayerNorm(3), Spline(3, 4)), Spline(4, 5, seed=1)])}
            )
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(5, 2), nn.Dropout(), nn.Tanh())

        def forward(self, x):
            for block in self.body["kan"]:
                x = block(x)
            return self.head(x)

    net = agrees(Deep())
    assert [layer.name for layer in net.layers] == ["body.kan.0.1", "body.kan.1"]


def test_kan_layers_of_several_families():
    net = agrees(nn.Sequential(Spline(3, 4), Cheby(4, 3), Spline(3, 2, seed=1)))
    assert net.source.family == "cheby-kan+efficient-kan"
    assert [layer.shape for layer in net.layers] == [(3, 4), (4, 3), (3, 2)]


def test_one_activation_module_used_twice():
    parts = {"a": Spline(3, 4), "b": Spline(4, 4), "c": Spline(4, 2), "act": nn.Tanh()}
    module = Wrapper(lambda m, x: m.act(m.c(m.act(m.b(m.act(m.a(x)))))), **parts)
    net = agrees(module)
    assert sum(isinstance(step, Activation) for step in net.steps) == 3
    assert any("follow the calls" in text for text in net.source.notes)


def test_an_order_of_calls_other_than_that_of_registration():
    net = agrees(Wrapper(lambda m, x: m.last(m.first(x)), last=nn.Linear(4, 2), first=Spline(3, 4)))
    assert isinstance(net.steps[0], KANLayer)
    assert any("not in the order of registration" in text for text in net.source.notes)


def test_a_submodule_that_forward_never_calls():
    module = Wrapper(lambda m, x: m.kan(x), kan=Spline(3, 4), spare=nn.Linear(4, 9), loss=nn.CrossEntropyLoss())
    net = agrees(module)
    assert net.out_features == 4
    assert any("'spare' (Linear) is not called by forward and left out" in text for text in net.source.notes)


def test_layers_of_which_only_the_method_is_called():  # hooks do not see it: the order of registration is tried
    agrees(Wrapper(lambda m, x: m.b.forward(m.a.forward(x)), a=Spline(3, 4), b=Spline(4, 2, seed=1)))


def test_weights_shared_by_two_calls():
    net = agrees(Wrapper(lambda m, x: m.kan(m.kan(x)), kan=Spline(3, 3)))
    assert len(net.layers) == 2


def test_an_output_of_one_column_may_be_squeezed():
    agrees(Wrapper(lambda m, x: m.kan(x).squeeze(-1), kan=Spline(3, 1)))


def test_data_parallel_is_looked_through():
    agrees(nn.DataParallel(nn.Sequential(Spline(3, 4), nn.ReLU())))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile imports torch.jit
def test_torch_compile_is_looked_through():
    module = nn.Sequential(Spline(3, 4), nn.Tanh(), Spline(4, 2, seed=1))
    want = import_model(module)
    compiled = torch.compile(module)
    assert type(compiled) is not type(module)
    x = rows(3)
    assert np.array_equal(import_model(compiled).evaluate(x), want.evaluate(x))
    inside = nn.Sequential(torch.compile(module[0]), module[1], module[2])
    net = import_model(inside)
    assert np.array_equal(net.evaluate(x), want.evaluate(x))
    assert [type(step) for step in net.steps] == [KANLayer, Activation, KANLayer]


def test_the_module_is_left_as_it_was():
    module = nn.Sequential(Spline(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), Spline(4, 2))
    module[1].eval()
    module.add_module("lambda", Wrapper(lambda m, x: x))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    flags = [part.training for part in module.modules()]
    state = torch.random.get_rng_state()
    import_model(module)
    assert [part.training for part in module.modules()] == flags
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
    assert not any(part._forward_hooks for part in module.modules())


class Uncopyable(Spline):
    def __deepcopy__(self, memo):
        raise RuntimeError("only leaves can be copied")

    def forward(self, x):
        self.seen = x
        return super().forward(x)


def test_a_module_that_cannot_be_copied_is_checked_in_its_own_dtype():
    module = Uncopyable(3, 4)
    module.seen = kept = object()
    net = import_model(module)
    assert any("(float32)" in text for text in net.source.notes)
    assert module.seen is kept and module.training


def test_a_module_that_mixes_in_float32_is_checked_in_its_own_dtype():
    module = Wrapper(lambda m, x: m.kan(x.float()), kan=Spline(3, 4))
    assert any("(float32)" in text for text in import_model(module).source.notes)


# --- what the submodules do not tell ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda m, x: m.b(F.relu(m.a(x))), r"between module 'a' \(Spline\) and module 'b' \(Spline\) there is a relu"),
        (lambda m, x: m.b(torch.tanh(m.a(x))), "there is a tanh that is no submodule"),
        (lambda m, x: torch.sigmoid(m.b(m.a(x))), r"between module 'b' \(Spline\) and the output there is a sigmoid"),
        (lambda m, x: F.log_softmax(m.b(m.a(x)), dim=1), "there is a log_softmax"),
        (lambda m, x: F.softmax(m.b(m.a(x)), dim=1), "there is a softmax"),
        (lambda m, x: m.b(m.a(x)) + x, "a skip connection that adds the input"),
        (lambda m, x: m.b(m.a(x)) * 1.5, "and the output there is an operation that is no submodule"),
        (lambda m, x: m.b(m.a(x * 3)), r"between the input and module 'a' \(Spline\) there is an operation"),
        (lambda m, x: m.b(m.a(x).clamp(-0.1, 0.1)), "an operation that is no submodule"),
        (lambda m, x: m.a(x) + m.b(m.a(x)), "skip connection"),
    ],
)
def test_what_forward_adds_is_refused_with_its_place(forward, reason):
    module = Wrapper(forward, a=Spline(3, 3), b=Spline(3, 3, seed=1))
    with pytest.raises(ImportModelError, match=reason) as caught:
        import_model(module)
    assert "1 + |y| on 64 rows (float64)" in caught.value.found
    assert "family='generic'" in caught.value.fix


def test_the_measured_deviation_is_told():
    module = Wrapper(lambda m, x: m.a(x) + 0.5, a=Spline(1, 1))
    with pytest.raises(ImportModelError) as caught:
        import_model(module)
    measured = float(caught.value.found.split(" by ")[1].split(" ")[0])
    layer = import_model(module.a)
    assert 0.1 < measured <= 0.5 and layer.in_features == 1


def test_a_layer_whose_forward_is_not_the_family_s():
    class Other(Spline):
        def forward(self, x):
            return super().forward(x) ** 2

    with pytest.raises(ImportModelError, match=r"module '0' \(Other\) computes something else than its tensors"):
        import_model(nn.Sequential(Other(3, 4), nn.Tanh()))


def test_a_wrong_config_is_caught_by_the_comparison():
    layer = Spline(3, 4)
    with pytest.raises(ImportModelError, match="computes something else"):
        import_model(layer, config={"base_activation": "gelu"})


def test_config_names_a_function_that_the_attributes_do_not():
    layer = Spline(3, 4, activation=lambda: lambda x: x * torch.sigmoid(x))
    with pytest.raises(ImportModelError, match="base_activation"):
        import_model(layer)
    assert import_model(layer, config={"base_activation": "silu"}).source.defaults_taken == ()


def test_config_keys_are_checked_against_the_families_present():
    with pytest.raises(ImportModelError, match="unknown key 'denominator'"):
        import_model(Spline(3, 4), config={"denominator": 1.0})
    with pytest.raises(ImportModelError, match=r"config\['layers'\]"):
        import_model(nn.Sequential(Spline(3, 4), Spline(4, 2)), config={"layers": [{}]})


def test_config_layers_count_in_the_order_of_registration():
    module = nn.Sequential(Spline(3, 4, activation=nn.GELU), Cheby(4, 3), Spline(3, 2))
    entries = [{"base_activation": "gelu"}, {"degree": 3}, {"spline_order": 3}]
    agrees(module, config={"layers": entries})
    with pytest.raises(ImportModelError, match="degree = 4"):
        import_model(module, config={"layers": [{}, {"degree": 4}, {}]})


class Scale(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.factor = nn.Parameter(torch.full((n,), 1.5))

    def forward(self, x):
        return x * self.factor


def test_an_unknown_module_with_parameters_is_named():
    with pytest.raises(ImportModelError, match=r"module 'head.1' \(Scale\) has parameters"):
        import_model(Wrapper(lambda m, x: m.head(m.kan(x)), kan=Spline(3, 4), head=nn.Sequential(nn.Tanh(), Scale(4))))


def test_a_parameter_beside_the_submodules_is_named():
    module = Wrapper(lambda m, x: m.factor * m.kan(x), kan=Spline(3, 4))
    module.factor = nn.Parameter(torch.tensor(1.5))
    with pytest.raises(ImportModelError, match="differs from the module itself"):
        import_model(module)
    module.factor.data.fill_(1.0)  # now it changes nothing, and the comparison says so
    agrees(module)


def test_an_unknown_module_without_parameters_is_judged_by_what_it_does():
    agrees(nn.Sequential(Spline(3, 4), Wrapper(lambda m, x: x)))
    with pytest.raises(ImportModelError, match="there is a softmax"):
        import_model(nn.Sequential(Spline(3, 4), nn.Softmax(dim=1)))
    with pytest.raises(ImportModelError, match="differs"):
        import_model(nn.Sequential(Spline(3, 4), nn.Hardtanh(-0.2, 0.2)))


def test_batch_statistics_are_refused():
    with pytest.raises(ImportModelError, match=r"module '1' \(BatchNorm1d\) has no running statistics"):
        import_model(nn.Sequential(Spline(3, 4), nn.BatchNorm1d(4, track_running_stats=False)))


def test_a_module_without_kan_layers_is_refused():
    with pytest.raises(ImportModelError, match=r"no KAN layer is recognised .*family='generic'"):
        import_model(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))


def test_a_forward_that_fails_or_returns_no_rows_is_refused():
    with pytest.raises(ImportModelError, match=r"fails on 64 rows of 3 numbers \(IndexError"):
        import_model(Wrapper(lambda m, x: m.kan(x[:, [7]]), kan=Spline(3, 4)))
    with pytest.raises(ImportModelError, match="returns a tuple"):
        import_model(Wrapper(lambda m, x: (m.kan(x), x), kan=Spline(3, 4)))
    with pytest.raises(ImportModelError, match=r"returns shape \(\)"):
        import_model(Wrapper(lambda m, x: m.kan(x).sum(), kan=Spline(3, 4)))


def test_family_restricts_what_is_looked_for():
    assert import_model(Spline(3, 4), family="efficient-kan").layers
    with pytest.raises(ImportModelError, match="no KAN layer"):
        import_model(Spline(3, 4), family="pykan")


def test_a_fork_with_another_tensor_is_refused():
    layer = Spline(3, 4)
    layer.bias = nn.Parameter(torch.zeros(4))
    with pytest.raises(ImportModelError, match=r"'0\.bias' is not a tensor of efficient-kan"):
        import_model(nn.Sequential(layer))


@pytest.mark.parametrize("source", [None, 3, [1, 2], print])
def test_other_sources_are_refused_by_their_type(source):
    with pytest.raises(ImportModelError, match=type(source).__name__):
        import_model(source)
    assert not is_live_module(source)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_is_refused_and_may_be_sampled():
    traced = torch.jit.trace(Cheby(3, 2), torch.zeros(2, 3))
    with pytest.raises(ImportModelError, match="TorchScript"):
        import_model(traced)
    net = import_model(traced, family="generic", config={"in_features": 3, "domain": (-2, 2)})
    x = np.random.default_rng(4).uniform(-2, 2, (50, 3))
    assert close(net.evaluate(x), float64(Cheby(3, 2), x), 1e-4)


def test_half_precision_modules_are_checked_in_float64():
    net = import_model(nn.Sequential(Cheby(3, 4), nn.Tanh()).half())
    assert any("(float64)" in text for text in net.source.notes)


def test_a_module_with_pykans_tensor_names_alone_takes_the_defaults_of_its_state_dict():
    class Layer(torch.nn.Module):
        def __init__(self, n_in, n_out):
            super().__init__()
            self.grid = torch.nn.Parameter((-1 + 0.4 * torch.arange(-3.0, 9.0)).repeat(n_in, 1))
            self.coef = torch.nn.Parameter(torch.randn(n_in, n_out, 8))
            self.mask = torch.nn.Parameter(torch.ones(n_in, n_out))
            self.scale_base = torch.nn.Parameter(torch.randn(n_in, n_out))
            self.scale_sp = torch.nn.Parameter(torch.ones(n_in, n_out))

        def forward(self, x):
            at = x[:, :, None]
            values = ((at >= self.grid[:, :-1]) & (at < self.grid[:, 1:])).to(x.dtype)
            for p in range(1, 4):
                left, right = self.grid[:, p:-1] - self.grid[:, : -p - 1], self.grid[:, p + 1 :] - self.grid[:, 1:-p]
                values = (at - self.grid[:, : -p - 1]) / left * values[..., :-1] + (
                    self.grid[:, p + 1 :] - at
                ) / right * values[..., 1:]
            spline = torch.einsum("nic,ioc->nio", values, self.coef)
            silu = torch.nn.functional.silu(at)
            return (self.mask * (self.scale_base * silu + self.scale_sp * spline)).sum(dim=1)

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.act_fun = torch.nn.ModuleList([Layer(3, 4), Layer(4, 2)])
            for layer, width in enumerate((4, 2)):
                for name in ("node", "subnode"):
                    self.register_parameter(f"{name}_scale_{layer}", torch.nn.Parameter(torch.ones(width)))
                    self.register_parameter(f"{name}_bias_{layer}", torch.nn.Parameter(torch.zeros(width)))
            self.symbolic_fun = torch.nn.ModuleList()
            for n_in, n_out in ((3, 4), (4, 2)):
                symbolic = torch.nn.Module()
                symbolic.mask = torch.nn.Parameter(torch.zeros(n_out, n_in))
                symbolic.affine = torch.nn.Parameter(torch.zeros(n_out, n_in, 4))
                self.symbolic_fun.append(symbolic)

        def forward(self, x):
            for layer in self.act_fun:
                x = layer(x)
            return x

    torch.manual_seed(0)
    model = Own()
    net = import_model(model)
    x = torch.rand(50, 3) * 2 - 1
    np.testing.assert_allclose(net.evaluate(x.numpy()), model(x).detach().numpy(), rtol=1e-4, atol=1e-4)
