"""The families that lutkan recognises, in the order in which they are asked."""

from __future__ import annotations

from lutkan.adapters.efficient_kan import EFFICIENT_KAN
from lutkan.adapters.family import Family

__all__ = ["FAMILIES", "family_named"]

FAMILIES: tuple[Family, ...] = (EFFICIENT_KAN,)


def family_named(name: str) -> Family | None:
    """Return the family of that name, or None."""
    return next((family for family in FAMILIES if family.name == name), None)
