"""First and second derivatives of a loss by the sums of KAN layers and by their weights, in numpy.

BRECQ weighs errors by the Fisher information, HAWQ-V2 wants the trace of the Hessian. Both need one pass back through
the network. Elementwise functions are differentiated by central differences in float64, which leaves about ten digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lutkan.ir import Activation, Affine, KANLayer, LayerNorm, Linear, Network, Product, Select, Step
from lutkan.train.ptq.features import LayerView

__all__ = ["Loss", "fisher", "hutchinson_traces", "kl_divergence", "layer_gradients", "resolve_loss"]

F64 = NDArray[np.float64]
#: Cross entropy against the model's own decisions (classification), or squares (regression).
Loss = Literal["kl", "squares"]

_STEP = 1e-4


def resolve_loss(net: Network) -> Loss:
    """Take a network of several outputs for a classifier, one of one output for a regression."""
    return "kl" if net.out_features > 1 else "squares"


def softmax(z: F64) -> F64:
    """Return the shares of classes, row by row."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def kl_divergence(reference: F64, z: F64, loss: Loss = "kl") -> float:
    """Return the mean divergence of the predictions from the reference's: KL of the softmax, or mean squares.

    Examples
    --------
    >>> kl_divergence(np.zeros((1, 2)), np.zeros((1, 2)))
    0.0
    """
    if loss == "squares":
        return float(np.mean((reference - z) ** 2))
    p = softmax(reference)
    log_p = np.log(np.maximum(p, 1e-300))
    log_q = z - z.max(axis=1, keepdims=True)
    log_q = log_q - np.log(np.exp(log_q).sum(axis=1, keepdims=True))
    return float(np.mean(np.sum(p * (log_p - log_q), axis=1)))


def _slopes(evaluate: object, x: F64) -> F64:
    """Central difference of an elementwise function."""
    return (evaluate(x + _STEP) - evaluate(x - _STEP)) / (2 * _STEP)  # type: ignore[operator]


def _back_glue(step: Step, x: F64, gradient: F64) -> F64:
    """Carry a gradient back through a step that is no KAN layer: [N, m] -> [N, n]."""
    if isinstance(step, Affine):
        return gradient * step.scale
    if isinstance(step, Activation):
        return gradient * _slopes(step.evaluate, x)
    if isinstance(step, Linear):
        return gradient @ step.weight.T
    if isinstance(step, LayerNorm):
        g = gradient if step.weight is None else gradient * step.weight
        centred = x - x.mean(axis=1, keepdims=True)
        inverse = 1 / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + step.eps)
        unit = centred * inverse
        return inverse * (g - g.mean(axis=1, keepdims=True) - unit * (g * unit).mean(axis=1, keepdims=True))
    back = np.zeros_like(x)
    if isinstance(step, Select):
        np.add.at(back.T, step.indices, gradient.T)
    elif isinstance(step, Product):
        for output, group in enumerate(step.groups):
            for i in group:
                others = [j for j in group if j != i]
                back[:, i] += gradient[:, output] * np.prod(x[:, others], axis=1)
    return back


def _back_layer(layer: KANLayer, x: F64, gradient: F64) -> F64:
    """Carry a gradient back through a KAN layer: [N, out] -> [N, in]."""
    view = LayerView(layer, 0)
    total = np.zeros_like(x)
    for branch in view.branches:
        values = [x]
        for step in branch.branch.pre:
            values.append(step.evaluate(values[-1]))
        at = values[-1]
        slope = _slopes(branch.bank.basis.evaluate, at)
        back = ((gradient @ branch.weights).reshape(slope.shape) * slope).sum(axis=2)
        for step, before in zip(branch.branch.pre[::-1], values[-2::-1], strict=True):
            back = _back_glue(step, before, back)
        total += back
    return total


def layer_gradients(net: Network, trace: Sequence[F64], at_output: F64, down_to: int = 0) -> dict[int, F64]:
    """Carry a gradient at the network's outputs back to the sums of its KAN layers.

    Parameters
    ----------
    net : Network
    trace : list of float64 arrays
        `net.trace(X)`.
    at_output : float64 [N, out]
    down_to : int
        The first step of interest.

    Returns
    -------
    dict of int to float64 [N, out of the layer]
        By step number.
    """
    gradient, found = at_output, {}
    for index in range(len(net.steps) - 1, down_to - 1, -1):
        step = net.steps[index]
        if isinstance(step, KANLayer):
            found[index] = gradient
            if index > down_to:
                gradient = _back_layer(step, trace[index], gradient)
        else:
            gradient = _back_glue(step, trace[index], gradient)
    return found


def fisher(net: Network, X: F64, *, loss: Loss, seed: int, draws: int = 4) -> dict[int, F64]:
    """Return the diagonal Fisher information of the sums of every KAN layer, row by row.

    Labels are drawn from the model's own predictions, as the definition asks; with `loss="squares"` there is nothing to
    draw, and the Gauss-Newton diagonal is estimated with random signs.

    Returns
    -------
    dict of int to float64 [N, out of the layer]
        By step number; the mean of squared gradients.
    """
    rng = np.random.default_rng(seed)
    trace = net.trace(X)
    z = trace[-1]
    sums: dict[int, F64] = {}
    for _ in range(draws):
        if loss == "kl":
            p = softmax(z)
            label = (p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1).clip(max=p.shape[1] - 1)
            at_output = p.copy()
            at_output[np.arange(len(p)), label] -= 1.0
        else:
            at_output = rng.choice([-1.0, 1.0], size=z.shape)
        for index, gradient in layer_gradients(net, trace, at_output).items():
            sums[index] = sums.get(index, 0.0) + gradient**2 / draws
    return sums


def hutchinson_traces(
    net: Network, X: F64, *, loss: Loss, seed: int, vectors: int = 16
) -> dict[tuple[int, int], float]:
    """Estimate the trace of the Hessian of the loss by every branch's weights (Hutchinson, as in HAWQ-V2).

    The Gauss-Newton form is taken: with J the derivative of the outputs by the weights and A that of the loss, the
    trace of J'AJ is the mean of squared lengths of `J' A^(1/2) v` over random signs v. For the cross entropy against
    the model's own predictions it is the exact Hessian but for the curvature of the layers that follow.

    Returns
    -------
    dict of (step, branch) to float
        Mean over rows, summed over the branch's weights.
    """
    rng = np.random.default_rng(seed)
    trace = net.trace(X)
    z = trace[-1]
    features = {
        index: [np.sum(branch.exact(trace[index]) ** 2, axis=1) for branch in LayerView(step, index).branches]
        for index, step in enumerate(net.steps)
        if isinstance(step, KANLayer)
    }
    totals: dict[tuple[int, int], float] = {}
    p = softmax(z) if loss == "kl" else None
    for _ in range(vectors):
        signs = rng.choice([-1.0, 1.0], size=z.shape)
        if p is None:
            at_output = signs
        else:  # A = diag(p) - p p', and (sqrt(p) v - p (sqrt(p) . v)) has that covariance
            root = np.sqrt(p) * signs
            at_output = root - p * np.sum(root, axis=1, keepdims=True)
        for index, gradient in layer_gradients(net, trace, at_output).items():
            strength = np.sum(gradient**2, axis=1)
            for number, squares in enumerate(features[index]):
                key = (index, number)
                totals[key] = totals.get(key, 0.0) + float(np.mean(strength * squares)) / vectors
    return totals
