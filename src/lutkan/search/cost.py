"""A model of the time a row takes, to compare candidates by; nothing here is measured when it is used."""

from __future__ import annotations

from lutkan.artifact.program import BasisTable, KANOp, KnotTable, ProductTable, Program, RadialTable, Table

__all__ = ["estimated_ns"]

# Nanoseconds on one core of about 2.6 GHz with AVX-512 VNNI, rows in bulk. A product of four taps of an edge with 8-bit
# coefficients; 16 bits take twice as long. Fewer bits are unpacked on load and run as 8.
_FOUR_TAPS = {8: 0.03, 16: 0.06}
# Finding position and weights of an input: by arithmetic, or by comparison with knots and the recursion.
_ENCODE = 0.6
_ENCODE_KNOTS = 6.0
# A base branch apart: its function and code an input, one tap an edge.
_FUNCTION = 1.2
# An edge of an input beyond the tables, in float32.
_TAIL = 0.15
# Segment and analytic float tables, an edge.
_FLOAT_EDGE = 0.2


def estimated_ns(program: Program, outside_share: list[float] | None = None) -> float:
    """Estimate the time of a row in bulk on one core, in nanoseconds.

    `inputs * encode + edges * (taps / 4) * product`, plus what a base branch apart and inputs beyond the tables take.

    Parameters
    ----------
    program : Program
    outside_share : list of float, optional
        Share of the inputs of every KAN layer that lie beyond its tables.

    Examples
    --------
    >>> import numpy as np, lutkan
    >>> net = lutkan.import_model({"cheby_coeffs": np.ones((64, 64, 3), dtype=np.float32)})
    >>> fine, coarse = (lutkan.compile(net, spec, domain=(-1.0, 1.0)).program for spec in ("int16", "int8"))
    >>> estimated_ns(fine) > estimated_ns(coarse)
    True
    """
    layers = [step for step in program.steps if isinstance(step, KANOp)]
    shares = outside_share if outside_share is not None else [0.0] * len(layers)
    total = 0.0
    for layer, share in zip(layers, shares, strict=True):
        for branch in layer.branches:
            total += _table_ns(branch.table)
        n_in, n_out = layer.branches[0].table.shape
        total += share * n_in * n_out * _TAIL
    return total


def _table_ns(table: Table) -> float:
    n_in, n_out = table.shape
    if isinstance(table, ProductTable):
        return n_in * _FUNCTION + n_in * n_out * _FOUR_TAPS[table.kernel_bits] / 4
    if isinstance(table, (BasisTable, RadialTable, KnotTable)):
        encode = _ENCODE_KNOTS if isinstance(table, KnotTable) else _ENCODE
        return n_in * encode + n_in * n_out * (table.taps / 4) * _FOUR_TAPS[table.kernel_bits]
    return n_in * n_out * _FLOAT_EDGE
