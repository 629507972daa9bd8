"""The families that lutkan recognises, in the order in which they are asked.

A family that is told from another one by a tensor or a shape stands before it; efficient-kan, whose names are the
most common ones, comes after all that share them.
"""

from __future__ import annotations

from lutkan.adapters.cheby_kan import CHEBY_KAN
from lutkan.adapters.efficient_kan import EFFICIENT_KAN
from lutkan.adapters.family import Family
from lutkan.adapters.fast_kan import FAST_KAN, FASTER_KAN
from lutkan.adapters.fourier_kan import FOURIER_KAN
from lutkan.adapters.inkan import FLASHKAN, INKAN
from lutkan.adapters.jacobi_kan import JACOBI_KAN
from lutkan.adapters.kanditioned import KANDITIONED
from lutkan.adapters.pykan import PYKAN
from lutkan.adapters.renamings import CONVKAN, KANLIB, KANX, LKAN
from lutkan.adapters.torch_conv_kan import TORCH_CONV_KAN

__all__ = ["FAMILIES", "family_named"]

FAMILIES: tuple[Family, ...] = (
    PYKAN,
    FAST_KAN,
    FASTER_KAN,
    *TORCH_CONV_KAN,
    CHEBY_KAN,
    JACOBI_KAN,
    FOURIER_KAN,
    KANDITIONED,
    INKAN,
    FLASHKAN,
    LKAN,
    KANLIB,
    KANX,
    CONVKAN,
    EFFICIENT_KAN,
)


def family_named(name: str) -> Family | None:
    """Return the family of that name, or None."""
    return next((family for family in FAMILIES if family.name == name), None)
