"""The reference runtime on tables small enough to work out by hand, and the order in which it adds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lutkan.artifact.program import (
    ActivationOp,
    AffineOp,
    BaseTable,
    BranchOp,
    KANOp,
    LayerNormOp,
    LinearOp,
    ProductOp,
    Program,
    SegmentTable,
    SelectOp,
)
from lutkan.runtimes import reference

F = np.float32


def f(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


# Two segments on [0, 1, 3], three samples each: 0 10 20 | 20 60 100, times 0.5.
TABLE = SegmentTable(
    samples=3,
    interpolation="linear",
    boundary="half_open",
    outside="clip",
    knots=f(0, 1, 3)[None],
    q=np.array([0, 10, 20, 20, 60, 100], np.int8).reshape(1, 6, 1),
    scale=np.full((1, 2, 1), 0.5, np.float32),
    offset=None,
    edge_scale=None,
    base=None,
    base_weight=None,
)


def layer(*tables, **fields) -> Program:
    n_in, n_out = tables[0].shape
    options = {"inputs": None, "outputs": None, "bias": None, "in_features": n_in, "out_features": n_out} | fields
    return Program(options["in_features"], (KANOp("l", branches=tuple(BranchOp((), t) for t in tables), **options),))


def run(table: SegmentTable | Program, *x: float) -> list[float]:
    program = table if isinstance(table, Program) else layer(table)
    return reference.run(program, f(*x)[:, None])[:, 0].tolist()


def test_linear_between_samples():
    assert run(TABLE, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5) == [0, 2.5, 5, 7.5, 10, 20, 30, 40]


def test_nearest_takes_the_upper_sample_at_a_tie():
    nearest = replace(TABLE, interpolation="nearest")
    assert run(nearest, 0.0, 0.24, 0.25, 0.5, 0.74, 0.75, 1.0, 1.49, 1.5, 2.6) == [0, 0, 5, 5, 5, 10, 10, 10, 30, 50]


def test_an_inner_knot_belongs_to_the_segment_on_its_right():
    jump = replace(TABLE, q=np.array([0, 0, 0, 100, 100, 100], np.int8).reshape(1, 6, 1))
    assert run(jump, 1.0, float(np.nextafter(F(1), F(0)))) == [50, 0]


def test_closed_and_half_open_at_the_last_knot():
    for outside, half_open, closed in (("clip", 50.0, 50.0), ("zero", 0.0, 50.0)):
        table = replace(TABLE, outside=outside)
        assert run(table, 3.0) == pytest.approx([half_open], abs=1e-4)
        assert run(replace(table, boundary="closed"), 3.0) == [closed]
    assert run(TABLE, 3.0)[0] < 50.0  # clipped to the number before the last knot


def test_the_first_knot_is_inside():
    shifted = replace(TABLE, outside="zero", q=TABLE.q + np.int8(20))
    below = float(np.nextafter(F(0), F(-1)))
    assert run(shifted, 0.0, -0.0, below) == [10, 10, 0]


@pytest.mark.parametrize(
    ("outside", "expected"), [("clip", [0, 50, 0, 50]), ("zero", [0, 0, 0, 0]), ("linear", [-10, 70, -20, 90])]
)
def test_beyond_the_knots(outside, expected):
    table = replace(TABLE, outside=outside, boundary="closed")
    assert run(table, -1.0, 4.0, -2.0, 5.0) == expected


def test_linear_beyond_the_knots_follows_first_and_last_sample_of_the_end_segment():
    bent = replace(TABLE, outside="linear", q=np.array([0, 0, 20, 20, 100, 100], np.int8).reshape(1, 6, 1))
    assert run(bent, -1.0, 5.0, 1e6) == [-10, 90, 10 + (1e6 - 1) / 2 * 40]
    assert run(bent, 0.75, 2.5) == [5, 50]  # inside, the samples in between count


def test_base_beyond_the_knots():
    table = replace(TABLE, outside="base", base="relu", base_weight=f(3)[None])
    assert run(table, -1.0, 0.5, 3.0, 4.0) == [0, 5, 9, 12]


@pytest.mark.parametrize(
    ("outside", "expected"),
    [("clip", [0.0, 50.0]), ("zero", [0.0, 0.0]), ("linear", [-np.inf, np.inf])],
)
def test_infinite_inputs(outside, expected):
    assert run(replace(TABLE, outside=outside, boundary="closed"), -np.inf, np.inf) == expected


def test_an_infinite_input_on_a_flat_straight_tail_is_nan():
    flat = replace(TABLE, outside="linear", q=np.full((1, 6, 1), 7, np.int8))
    assert np.isnan(run(flat, np.inf)).all() and run(flat, 1e30) == [3.5]


def test_a_segment_of_width_zero_is_its_left_end():
    table = replace(TABLE, knots=f(0, 1, 1)[None], boundary="closed")
    assert run(table, 1.0) == [10.0]  # the zero-width segment starts with code 20
    assert run(table, 0.5, float(np.nextafter(F(1), F(0)))) == pytest.approx([5.0, 10.0])


def test_offset_scale_and_edge_scale():
    table = replace(
        TABLE, q=TABLE.q.astype(np.uint8), offset=np.full((1, 2, 1), -3.0, np.float32), edge_scale=f(2.0)[None]
    )
    assert run(table, 0.5, 2.0) == [2 * (-3 + 5), 2 * (-3 + 30)]


def test_the_edge_scale_multiplies_scale_and_offset_not_the_value():
    # 0.1 * 3 rounded, then times the code; not the code times 0.1 rounded, then times 3.
    scale, factor, code = F(0.1), F(3.0), 7
    table = replace(
        TABLE,
        q=np.full((1, 6, 1), code, np.int8),
        scale=np.full((1, 2, 1), scale, np.float32),
        edge_scale=np.full((1, 1), factor, np.float32),
    )
    expected = (scale * factor) * F(code)
    assert expected != (scale * F(code)) * factor
    assert run(table, 0.5) == [float(expected)]


def test_the_code_is_interpolated_before_it_is_scaled():
    table = replace(TABLE, scale=np.full((1, 2, 1), F(0.1), np.float32))
    w = F(0.3) * F(2)  # position within the first segment
    expected = F(0.1) * (F(0) + w * F(10))
    assert run(table, 0.3) == [float(expected)]


def test_inputs_are_added_one_after_the_other_in_float32():
    big = np.array([[2.0**24], [1.0], [1.0], [-(2.0**24)]], np.float32)
    program = layer(BaseTable("identity", big))
    # (((2^24 + 1) + 1) - 2^24) is 0 in float32: each 1 is lost. In float64, or added in another order, it is 2.
    assert reference.run(program, np.ones((1, 4), np.float32)).tolist() == [[0.0]]
    program = layer(BaseTable("identity", big[::-1].copy()))
    assert reference.run(program, np.ones((1, 4), np.float32)).tolist() == [[2.0]]


def test_branches_are_added_one_after_the_other_and_the_bias_last():
    one, big = np.ones((1, 1), np.float32), np.full((1, 1), 2.0**24, np.float32)
    x = np.ones((1, 1), np.float32)

    def answer(*weights: np.ndarray, bias: float = 0.0) -> float:
        return float(reference.run(layer(*(BaseTable("identity", w) for w in weights), bias=f(bias)), x)[0, 0])

    assert answer(big, one, one) == 2.0**24
    assert answer(one, one, big) == 2.0**24 + 2
    assert answer(one, one, bias=2.0**24) == 2.0**24 + 2
    assert answer(big, one, bias=1.0) == 2.0**24


def test_live_inputs_and_outputs():
    weight = np.array([[1.0, 10.0], [100.0, 1000.0]], np.float32)
    program = layer(
        BaseTable("identity", weight),
        in_features=4,
        out_features=3,
        inputs=np.array([1, 3], np.int32),
        outputs=np.array([0, 2], np.int32),
        bias=f(0.5, 0.25, 0.125),
    )
    assert reference.run(program, f(9, 1, 9, 2)[None]).tolist() == [[201.5, 0.25, 2010.125]]


def test_steps_before_a_table_see_all_features():
    norm = LayerNormOp(3, 0.0, None, None)
    branch = BranchOp((norm, ActivationOp(3, "relu")), BaseTable("identity", np.ones((1, 1), np.float32)))
    op = KANOp("l", 3, 1, np.array([2], np.int32), None, None, (branch,))
    y = reference.run(Program(3, (op,)), f(0, 0, 3)[None])
    np.testing.assert_allclose(y, [[np.sqrt(2)]], rtol=1e-6)


def test_the_other_steps():
    x = f(1, -2, 3)[None]
    assert reference.run_step(SelectOp(3, np.array([2, 2, 0], np.int32)), x).tolist() == [[3, 3, 1]]
    assert reference.run_step(AffineOp(f(2, 3, 4), f(1, 1, 1)), x).tolist() == [[3, -5, 13]]
    assert reference.run_step(ActivationOp(3, "relu"), x).tolist() == [[1, 0, 3]]
    assert reference.run_step(ActivationOp(3, "prelu", f(1, 0.5, 1)), x).tolist() == [[1, -1, 3]]
    assert reference.run_step(LinearOp(f(1, 10, 100)[:, None], f(0.5)), x).tolist() == [[281.5]]
    product = ProductOp(3, np.array([0, 1, 2], np.int32), np.array([0, 2, 3], np.int32))
    assert reference.run_step(product, x).tolist() == [[-2, 3]]


def test_products_are_multiplied_in_order():
    tiny = F(1e-30)
    product = ProductOp(3, np.array([0, 1, 2], np.int32), np.array([0, 3], np.int32))
    x = np.array([[tiny, tiny, F(1e30)]], np.float32)
    assert reference.run_step(product, x).tolist() == [[0.0]]  # the first two underflow
    assert reference.run_step(product, x[:, ::-1]).tolist() == [[float(F(1e30) * tiny * tiny)]]


def test_a_nan_that_a_later_step_drops_still_marks_the_row():
    program = Program(2, (AffineOp(f(0, 1), f(0, 0)), SelectOp(2, np.array([1], np.int32))))
    y = reference.run(program, np.array([[np.inf, 1], [5, 1]], np.float32))
    assert np.isnan(y[0, 0]) and y[1, 0] == 1.0


def test_locate_returns_segment_sample_weight_and_inside():
    x = f(-1, 0, 0.25, 1, 2.9, 3, 9)[:, None]
    k, r, w, inside = (found[:, 0].tolist() for found in reference.locate(TABLE, x))
    assert k == [0, 0, 0, 1, 1, 1, 1]
    assert r == [0, 0, 0, 0, 1, 1, 1]
    assert w[:4] == [0, 0, 0.5, 0] and w[5] == pytest.approx(1.0, abs=1e-6)
    assert inside == [False, True, True, True, True, False, False]


def test_subnormal_inputs_are_not_flushed():
    table = replace(TABLE, knots=f(0, 1e-40, 2e-40)[None], outside="zero")
    assert run(table, 5e-41)[0] == pytest.approx(5.0, rel=1e-3)
    assert run(table, -1e-45) == [0.0]
