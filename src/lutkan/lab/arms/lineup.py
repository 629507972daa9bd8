"""Who takes part: lutkan's arms and all rivals on networks of one shape."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lutkan import api
from lutkan.artifact import Artifact
from lutkan.lab import nets
from lutkan.lab.arms import own
from lutkan.lab.arms.contender import Contender, Skipped
from lutkan.lab.nets import Drawn

__all__ = ["RIVALS", "SPECS", "Rival", "compile_specs", "line_up", "rivals"]

#: Specs that the native runtime is timed with.
SPECS = ("int8", "int16", "int4", "float32", "segment-int8-L64", "segment-uint8-L16")
_NUMBA_SPECS = ("int8", "segment-int8-L64", "segment-uint8-L16")
# Segment tables of a 1024 -> 1024 layer would take 0.7 GB.
_SEGMENT_EDGES = 80_000
# pykan makes tensors of rows x edges.
_PYKAN_EDGES = 5_000
_CALIBRATION_ROWS = 1024


@dataclass(frozen=True)
class Rival:
    """An arm that is not lutkan's.

    Attributes
    ----------
    name : str
    package : str
        What has to be installed.
    module, function : str
        Where in `lutkan.lab.arms` it is made.
    family : str
        Which of the drawn networks it runs.
    most_edges : int or None
        It is left out for larger networks.
    """

    name: str
    package: str
    module: str
    function: str
    family: str
    most_edges: int | None = None

    @property
    def is_compiled(self) -> bool:
        """Whether it needs torch.compile."""
        return self.name.endswith(" compiled")


RIVALS = (
    Rival("nn.Linear", "torch", "torch_", "dense", "perceptron"),
    Rival("ONNX Runtime MLP", "onnxruntime", "onnx_", "dense", "perceptron"),
    Rival("efficient-kan", "torch", "torch_", "efficient_kan", "efficient-kan"),
    Rival("fast-kan", "torch", "torch_", "fast_kan", "fast-kan"),
    Rival("fast-kan compiled", "torch", "torch_", "fast_kan_compiled", "fast-kan"),
    Rival("inkan", "torch", "torch_", "inkan", "efficient-kan"),
    Rival("inkan compiled", "torch", "torch_", "inkan_compiled", "efficient-kan"),
    Rival("KANditioned embedding_bag", "torch", "torch_", "kanditioned", "kanditioned"),
    Rival("pykan speed", "torch", "torch_", "pykan", "efficient-kan", _PYKAN_EDGES),
    Rival("numba B-spline", "numba", "numba_", "bspline", "efficient-kan"),
    Rival("numpy basis + GEMM", "numpy", "numpy_", "gemm", "efficient-kan"),
)


def compile_specs(model: Drawn, specs: Sequence[str] = SPECS) -> dict[str, Artifact]:
    """Compile a network in several specs, calibrated on rows like those it is timed on; too large ones are left out."""
    rows = nets.input_rows(model.widths[0], _CALIBRATION_ROWS)
    wanted = [spec for spec in specs if model.edges <= _SEGMENT_EDGES or not spec.startswith("segment")]
    return {spec: api.compile(model.network, spec, calibration=rows) for spec in wanted}


@functools.cache
def _compile_problem() -> str:
    """Tell why torch.compile does not work here, or nothing."""
    import torch

    try:
        torch.compile(lambda x: x + 1.0)(torch.ones(2))
    except (RuntimeError, ImportError, OSError) as error:
        return f"torch.compile fails here: {str(error).strip().splitlines()[0][:160]}"
    return ""


def rivals(models: Mapping[str, Drawn], *, compiled: bool = True) -> list[Contender | Skipped]:
    """Make the arms that are not lutkan's.

    Parameters
    ----------
    models : mapping of str to Drawn
        By family, all of one shape.
    compiled : bool
        Whether to make the torch.compile arms, which take seconds a shape and batch.
    """
    found: list[Contender | Skipped] = []
    for rival in RIVALS:
        model = models[rival.family]
        problem = ""
        if importlib.util.find_spec(rival.package) is None:
            problem = f"{rival.package} is not installed"
        elif rival.most_edges is not None and model.edges > rival.most_edges:
            problem = f"run up to {rival.most_edges:,} edges only"
        elif rival.is_compiled:
            problem = _compile_problem() if compiled else "torch.compile was switched off"
        if problem:
            found.append(Skipped(rival.name, problem))
            continue
        module = importlib.import_module(f"lutkan.lab.arms.{rival.module}")
        found.append(getattr(module, rival.function)(model))
    return found


def line_up(shape: Sequence[int], *, compiled: bool = True) -> tuple[list[Contender | Skipped], int]:
    """Make all arms of a shape.

    Parameters
    ----------
    shape : sequence of int
        Widths of the networks.
    compiled : bool
        As for `rivals`.

    Returns
    -------
    arms : list of Contender or Skipped
    checkpoint_bytes : int
        Of the efficient-kan network that lutkan's arms are compiled from.
    """
    models = {
        model.family: model
        for model in (nets.efficient_kan(shape), nets.fast_kan(shape), nets.kanditioned(shape), nets.perceptron(shape))
    }
    kan = models["efficient-kan"]
    made = compile_specs(kan)
    too_large = f"tables of {kan.edges:,} edges take too much memory"
    arms: list[Contender | Skipped] = []
    for runtime, specs in (("native", SPECS), ("numba", _NUMBA_SPECS), ("reference", ("int8",))):
        for spec in specs:
            if spec in made:
                arms.append(own.on_runtime(made[spec], kan.evaluate, runtime, spec))
            else:
                arms.append(Skipped(f"{runtime} {spec}", too_large))
    arms.append(own.native_call(made["int8"], kan.evaluate, "int8"))
    arms += rivals(models, compiled=compiled)
    for spec in SPECS:
        if spec in made and spec.startswith("segment"):
            arms.append(_edge_lut(made[spec], kan, spec))
        elif spec.startswith("segment"):
            arms.append(Skipped(f"LUT-KAN layout {spec}", too_large))
    return arms, kan.checkpoint_bytes


def _edge_lut(artifact: Artifact, model: Drawn, spec: str) -> Contender | Skipped:
    if importlib.util.find_spec("numba") is None:
        return Skipped(f"LUT-KAN layout {spec}", "numba is not installed")
    from lutkan.lab.arms import numba_

    return numba_.edge_lut(artifact, model, spec)
