"""Quantization-aware training: the usual loop, with what quantizers need done right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lutkan.errors import InputError, SpecError
from lutkan.train.layer import kan_layers
from lutkan.train.prepare import as_rows, calibrate

__all__ = ["History", "parameter_groups", "train"]

Loss = Callable[[Tensor, Tensor], Tensor]
# Rows that the quantizers' first parameters are taken from.
_CALIBRATION_ROWS = 512


@dataclass(frozen=True)
class History:
    """What a training run did.

    Attributes
    ----------
    losses : tuple of float
        Mean loss of every epoch.
    """

    losses: tuple[float, ...]


def train(
    model: nn.Module,
    X: object,
    y: object,
    *,
    epochs: int = 20,
    lr: float = 1e-3,
    seed: int = 0,
    batch_size: int = 64,
    weight_decay: float = 1e-4,
    loss: str | Loss = "auto",
    calibration: object = None,
    progress: bool | Callable[[int, int, float], None] = True,
) -> History:
    """Train a prepared model with its quantizers in place, in its own dtype and on its own device.

    AdamW with a cosine schedule down to zero over all steps; weights decay, quantizers, norms and biases do not.
    Quantizers that have no parameters yet get them from the first rows of `X` before the optimizer is made. The same
    seed gives the same model on the same machine and number of threads.

    Parameters
    ----------
    model : torch.nn.Module
        From `prepare` or `from_network`; trained in place, and left in evaluation mode.
    X : array or tensor [N, in]
    y : array or tensor
        Integers [N] for classes, numbers [N] or [N, out] for regression.
    epochs, batch_size : int
    lr : float
        A tenth to a half of what the float model was trained with does.
    seed : int
        Order of the rows and, where there is any, dropout.
    weight_decay : float
    loss : str or callable
        "cross_entropy", "mse", a function of (output, target), or "auto": the first for integer `y`, else the second.
    calibration : array or tensor [N, in], optional
        Rows for the quantizers' first parameters; by default 512 of `X`, drawn with the seed.
    progress : bool or callable
        True shows a bar with the loss of the moment, on a terminal only; a function is called with
        (step, steps, loss).

    Returns
    -------
    History

    Raises
    ------
    InputError
        Rows of the wrong width, none at all, NaN; as many targets as rows are needed; a loss that is not finite.
    SpecError
        A setting out of range.
    """
    for name, value, low in (("epochs", epochs, 1), ("batch_size", batch_size, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise SpecError(f"{name} = {value!r}", f"an integer from {low} on")
    if not lr > 0 or not math.isfinite(lr):
        raise SpecError(f"lr = {lr!r}", "a number above 0")
    if not kan_layers(model):
        raise InputError(f"{type(model).__name__} holds no quantized KAN layer", "what lutkan.train.prepare returned")
    rows = as_rows(model, X)
    targets = _targets(y, len(rows), rows)
    objective = _objective(loss, targets)
    shuffle = torch.Generator().manual_seed(seed)
    if calibration is not None:
        calibrate(model, calibration)
    elif not all(layer.quantizing for layer in kan_layers(model)):
        calibrate(model, rows[torch.randperm(len(rows), generator=shuffle)[:_CALIBRATION_ROWS]])

    if not callable(loss):
        _require_outputs(model, rows[:1], targets)
    steps = epochs * math.ceil(len(rows) / batch_size)
    optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay), lr=lr, fused=_can_fuse(model))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses: list[float] = []
    step = 0
    model.train()
    with torch.random.fork_rng(devices=[]), _shown(progress, steps) as show:
        torch.manual_seed(seed)
        for _ in range(epochs):
            total = 0.0
            for chosen in torch.randperm(len(rows), generator=shuffle).to(rows.device).split(batch_size):
                value = objective(model(rows[chosen]), targets[chosen])
                optimizer.zero_grad(set_to_none=True)
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                now = float(value.detach())
                if not math.isfinite(now):
                    raise InputError(f"the loss is {now} at step {step}", "finite numbers", "a smaller lr")
                step, total = step + 1, total + now * len(chosen)
                show(step, steps, now)
            losses.append(total / len(rows))
    model.eval()
    return History(tuple(losses))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the parameters of a model for an optimizer: matrices decay; quantizers, norms and biases do not.

    Examples
    --------
    >>> import torch
    >>> [len(group["params"]) for group in parameter_groups(torch.nn.Linear(2, 3), 0.01)]
    [1, 1]
    """
    own = {id(p) for layer in kan_layers(model) for p in layer.quantizer_parameters()}
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1 and id(p) not in own]
    plain = [p for p in model.parameters() if p.requires_grad and (p.ndim <= 1 or id(p) in own)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def _require_outputs(model: nn.Module, row: Tensor, targets: Tensor) -> None:
    """Compare the targets with what the model answers to one row; classes are integers from 0 on."""
    was = model.training
    model.eval()
    with torch.no_grad():
        width = model(row)[0].numel()
    model.train(was)
    if targets.is_floating_point() and targets[0].numel() != width:
        raise InputError(f"targets of {targets[0].numel()} numbers a row", f"{width}, the model's outputs")
    if (
        not targets.is_floating_point()
        and targets.ndim == 1
        and not 0 <= int(targets.min()) <= int(targets.max()) < width
    ):
        raise InputError(
            f"classes from {int(targets.min())} to {int(targets.max())}", f"0 to {width - 1}, one for each output"
        )


def _can_fuse(model: nn.Module) -> bool:
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in model.parameters())


def _targets(y: object, count: int, rows: Tensor) -> Tensor:
    values = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if values.ndim == 0 or len(values) != count:
        raise InputError(f"y of shape {values.shape}", f"one target for each of the {count} rows of X")
    if values.dtype.kind in "iu":
        return torch.tensor(values.astype(np.int64), device=rows.device)
    if values.dtype.kind != "f" or not np.isfinite(values).all():
        raise InputError(f"y of {values.dtype}", "integers for classes, finite numbers for regression")
    return torch.tensor(values, dtype=rows.dtype, device=rows.device)


def _objective(loss: str | Loss, targets: Tensor) -> Loss:
    if callable(loss):
        return loss
    classes = not targets.is_floating_point()
    if loss == "cross_entropy" or (loss == "auto" and classes):
        if not classes:
            raise InputError("loss 'cross_entropy' with targets that are no integers", "integer classes", "loss='mse'")
        return F.cross_entropy
    if loss in ("mse", "auto"):

        def squared(output: Tensor, target: Tensor) -> Tensor:
            return F.mse_loss(output, target.to(output.dtype).reshape(output.shape))

        return squared
    raise SpecError(f"loss {loss!r}", '"cross_entropy", "mse", "auto", or a function')


@contextmanager
def _shown(
    progress: bool | Callable[[int, int, float], None], steps: int
) -> Iterator[Callable[[int, int, float], None]]:
    """Yield what takes (step, steps, loss): the caller's function, a bar on a terminal, or nothing."""
    if callable(progress):
        yield progress
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not progress or not console.is_terminal:
        yield lambda step, steps, loss: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}"), TextColumn("loss {task.fields[loss]:.4f}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("training", total=steps, loss=float("nan"))
        yield lambda step, steps, loss: bar.update(task, completed=step, loss=loss)
