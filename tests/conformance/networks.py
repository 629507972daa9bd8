"""Small networks, made by hand from seeded numbers, that between them use every step and every kind of edge."""

from __future__ import annotations

import numpy as np

from lutkan.ir import (
    RSWAF,
    Activation,
    Affine,
    Branch,
    BSpline,
    EdgeBank,
    Fourier,
    FunctionBank,
    GaussianRBF,
    KANLayer,
    LayerNorm,
    Linear,
    NamedFunction,
    Network,
    PiecewiseLinear,
    Polynomial,
    Product,
    Select,
    Source,
)


def uniform_knots(intervals: int = 5, degree: int = 3, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """Extended knots as pykan and efficient-kan make them, [1, intervals + 2 degree + 1]."""
    step = (high - low) / intervals
    return (low + np.arange(-degree, intervals + degree + 1) * step)[None]


def adapted_knots(rng: np.random.Generator, n_in: int, intervals: int = 5, degree: int = 3) -> np.ndarray:
    """Knots of their own for every input, at uneven distances, as pykan's update_grid leaves them."""
    steps = rng.uniform(0.1, 0.7, (n_in, intervals + 2 * degree))
    start = rng.uniform(-2.0, -1.0, (n_in, 1))
    return np.concatenate([start, start + np.cumsum(steps, axis=1)], axis=1)


def spline(rng, n_in: int, n_out: int, knots: np.ndarray | None = None, degree: int = 3, **options) -> Branch:
    """B-spline edges; `amplitude` scales them, `scaled` keeps a factor an edge apart, `pre` goes before."""
    knots = uniform_knots(degree=degree) if knots is None else knots
    size = knots.shape[1] - 1 - degree
    coefficients = options.get("amplitude", 1.0) * rng.normal(size=(n_in, size, n_out))
    scale = rng.normal(size=(n_in, n_out)) if options.get("scaled") else None
    return Branch(EdgeBank(BSpline(knots, degree), coefficients, scale), options.get("pre", ()))


def base(rng, n_in: int, n_out: int, name: str = "silu", pre: tuple = ()) -> Branch:
    """A base branch."""
    return Branch(EdgeBank(NamedFunction(name), rng.normal(size=(n_in, 1, n_out)), role="base"), pre)


def polynomial(rng, n_in: int, n_out: int, degree: int = 4, pre: tuple = (Activation("tanh"),), **options) -> Branch:
    """Chebyshev polynomials of tanh(x)."""
    basis = Polynomial(options.get("family", "chebyshev"), degree, options.get("parameters", ()))
    return Branch(EdgeBank(basis, rng.normal(size=(n_in, degree + 1, n_out))), pre)


def network(*steps, in_features: int | None = None, family: str = "handmade") -> Network:
    """A network of steps; the first one tells the number of inputs unless it is given."""
    width = in_features if in_features is not None else steps[0].shape[0]
    return Network(tuple(steps), width, Source(family))


def one_layer(*branches: Branch, bias: np.ndarray | None = None) -> Network:
    """A network of one KAN layer."""
    return network(KANLayer("layers.0", branches, bias))


def splines(n_in: int = 3, n_out: int = 4, seed: int = 0, name: str = "silu", **options) -> Network:
    """One layer of B-splines with a base branch, as efficient-kan has it."""
    rng = np.random.default_rng(seed)
    return one_layer(spline(rng, n_in, n_out, **options), base(rng, n_in, n_out, name))


def bare_splines(n_in: int = 3, n_out: int = 4, seed: int = 1, **options) -> Network:
    """One layer of B-splines without a base branch."""
    return one_layer(spline(np.random.default_rng(seed), n_in, n_out, **options))


def adapted(n_in: int = 3, n_out: int = 4, seed: int = 2) -> Network:
    """One layer on knots that differ from input to input, scale apart, base branch."""
    rng = np.random.default_rng(seed)
    return one_layer(
        spline(rng, n_in, n_out, adapted_knots(rng, n_in), scaled=True), base(rng, n_in, n_out, "identity")
    )


def clamped(n_in: int = 2, n_out: int = 3, seed: int = 3) -> Network:
    """One layer on knots that repeat at both ends and once inside."""
    rng = np.random.default_rng(seed)
    knots = np.array([[-1, -1, -1, -1, -0.5, 0.25, 0.25, 0.75, 1, 1, 1, 1.0]])
    return one_layer(spline(rng, n_in, n_out, knots))


def fast_kan(n_in: int = 4, n_out: int = 3, seed: int = 4) -> Network:
    """Gaussians of LayerNorm(x), and a base branch of x with a bias."""
    rng = np.random.default_rng(seed)
    norm = LayerNorm(n_in, 1e-5, rng.normal(1.0, 0.2, n_in), rng.normal(0.0, 0.2, n_in))
    radial = EdgeBank(GaussianRBF(np.linspace(-2, 2, 6), 0.8), rng.normal(size=(n_in, 6, n_out)))
    layer = KANLayer("layers.0", (Branch(radial, (norm,)), base(rng, n_in, n_out)), rng.normal(size=n_out))
    return network(layer)


def fast_kans(seed: int = 14) -> Network:
    """Two layers of Gaussians behind LayerNorm, one directly after the other."""
    rng = np.random.default_rng(seed)
    layers = []
    for number, (n_in, n_out) in enumerate(((5, 7), (7, 3))):
        norm = LayerNorm(n_in, 1e-5, rng.normal(1.0, 0.2, n_in), rng.normal(0.0, 0.2, n_in))
        radial = EdgeBank(GaussianRBF(np.linspace(-2, 2, 8), 4 / 7), rng.normal(size=(n_in, 8, n_out)))
        branches = (Branch(radial, (norm,)), base(rng, n_in, n_out))
        layers.append(KANLayer(f"layers.{number}", branches, rng.normal(size=n_out)))
    return network(*layers)


def gram(seed: int = 15) -> Network:
    """Two layers of Gram polynomials of tanh(x), silu on each, LayerNorm and silu behind (KAGN)."""
    rng = np.random.default_rng(seed)
    steps = []
    for number, (n_in, n_out) in enumerate(((5, 6), (6, 4))):
        basis = Polynomial("gram", 3, tuple(rng.normal(0, 0.1, 4)), "silu")
        edges = EdgeBank(basis, rng.normal(size=(n_in, 4, n_out)))
        branches = (base(rng, n_in, n_out), Branch(edges, (Activation("tanh"),)))
        steps.append(KANLayer(f"layers.{number}", branches))
        steps += [LayerNorm(n_out, 1e-5, rng.normal(1.0, 0.1, n_out), rng.normal(0.0, 0.1, n_out)), Activation("silu")]
    return network(*steps)


def pykans(seed: int = 16) -> Network:
    """Three layers on knots that differ from input to input, the scale apart, one directly after the other."""
    rng = np.random.default_rng(seed)
    layers = []
    for number, (n_in, n_out) in enumerate(((4, 6), (6, 5), (5, 3))):
        edges = spline(rng, n_in, n_out, adapted_knots(rng, n_in), scaled=True, amplitude=0.5)
        layers.append(KANLayer(f"layers.{number}", (edges, base(rng, n_in, n_out)), rng.normal(size=n_out)))
    return network(*layers)


def switches(n_in: int = 3, n_out: int = 2, seed: int = 5) -> Network:
    """Reflectional switch functions (faster-kan)."""
    rng = np.random.default_rng(seed)
    return one_layer(Branch(EdgeBank(RSWAF(np.linspace(-1.2, 0.2, 5), 2.0), rng.normal(size=(n_in, 5, n_out)))))


def chebyshev(n_in: int = 3, n_out: int = 4, seed: int = 6) -> Network:
    """Chebyshev polynomials of tanh(x)."""
    return one_layer(polynomial(np.random.default_rng(seed), n_in, n_out))


def fourier(n_in: int = 2, n_out: int = 3, seed: int = 7) -> Network:
    """A Fourier series, which goes on for ever."""
    rng = np.random.default_rng(seed)
    return one_layer(Branch(EdgeBank(Fourier(3), rng.normal(size=(n_in, 6, n_out)))))


def straight(n_in: int = 2, n_out: int = 3, seed: int = 8) -> Network:
    """Piecewise linear edges whose end pieces go on (KANditioned)."""
    rng = np.random.default_rng(seed)
    points = np.array([-1.5, -0.75, -0.5, 0.25, 1.0, 1.25])
    return one_layer(Branch(EdgeBank(PiecewiseLinear(points), rng.normal(size=(n_in, 6, n_out)))))


def even_straight(n_in: int = 2, n_out: int = 3, seed: int = 13) -> Network:
    """Piecewise linear edges on points at equal distances."""
    rng = np.random.default_rng(seed)
    return one_layer(Branch(EdgeBank(PiecewiseLinear(np.linspace(-1, 1, 5)), rng.normal(size=(n_in, 5, n_out)))))


def symbolic(n_in: int = 2, n_out: int = 2, seed: int = 9) -> Network:
    """Edges of named functions (pykan's symbolic edges)."""
    rng = np.random.default_rng(seed)
    edges = n_in * n_out
    affine = rng.uniform(0.5, 1.5, (edges, 4))
    bank = FunctionBank(
        n_in,
        n_out,
        ("sin", "x^2"),
        np.arange(edges) % 2,
        np.repeat(np.arange(n_in), n_out),
        np.tile(np.arange(n_out), n_in),
        affine,
    )
    return one_layer(Branch(bank))


def masked(seed: int = 10) -> Network:
    """Two layers in which input 1, hidden feature 2 and output 0 have no live edge; the biases remain."""
    rng = np.random.default_rng(seed)
    first, second = spline(rng, 4, 5, scaled=True), base(rng, 4, 5)
    live = np.ones((4, 5))
    live[1] = live[:, 2] = 0.0
    first = Branch(EdgeBank(first.bank.basis, first.bank.coefficients, first.bank.scale * live))
    second = Branch(EdgeBank(second.bank.basis, second.bank.coefficients * live[:, None], role="base"))
    last = spline(rng, 5, 3)
    alive = np.ones((5, 1, 3))
    alive[:, :, 0] = 0.0
    last = Branch(EdgeBank(last.bank.basis, last.bank.coefficients * alive))
    return network(
        KANLayer("layers.0", (first, second), rng.normal(size=5)), KANLayer("layers.1", (last,), rng.normal(size=3))
    )


def glued(seed: int = 11) -> Network:
    """Every step between layers: select, affine, LayerNorm, PReLU, product, linear, activations; three KAN layers."""
    rng = np.random.default_rng(seed)
    norm = LayerNorm(4, 1e-6, rng.normal(1.0, 0.1, 4), rng.normal(0.0, 0.1, 4))
    scaling = Affine(rng.uniform(0.5, 1.5, 5), rng.normal(0.0, 0.2, 5), "normalisation")
    return network(
        Select(np.array([5, 0, 2, 2, 4]), 6),
        KANLayer("a", (spline(rng, 5, 4, pre=(scaling,)), base(rng, 5, 4, "gelu", (scaling,))), rng.normal(size=4)),
        LayerNorm(4, 1e-5),
        norm,
        Activation("prelu", np.array([0.25])),
        KANLayer("b", (spline(rng, 4, 6, adapted_knots(rng, 4)), base(rng, 4, 6, "tanh"))),
        Product(((0, 1), (2,), (3, 4, 5)), 6),
        Affine(rng.normal(size=3), rng.normal(size=3)),
        Linear(rng.normal(size=(3, 4)), rng.normal(size=4)),
        Activation("sigmoid"),
        Linear(rng.normal(size=(4, 3))),
        Activation("relu"),
        KANLayer("c", (polynomial(rng, 3, 2),)),
        in_features=6,
    )
