"""The native runtime as a whole, on every instruction set of this machine: the bits of the reference runtime.

Beside the conformance list, programs drawn at random (`random_programs`) use every field of an artifact to its limits.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import lutkan
from conformance.cases import CASES, same_bits
from conformance.random_programs import TABLES, draw, rows_for
from lutkan.artifact.program import BasisTable, BranchOp, KANOp, Program
from lutkan.errors import RuntimeUnavailableError
from lutkan.runtimes import available_runtimes, native, reference
from lutkan.runtimes.packing import needed_bytes, pack_program, packed_bytes

_native = pytest.importorskip("lutkan._native", reason="needs the compiled kernels", exc_type=ImportError)

MISSING = available_runtimes()
ISAS = native.available_isas()
CHUNKS, A_CHUNK = 30, 20
BATCHES = (0, 1, 11, 12, 63, 64, 65, 200)
F32 = np.float32


@pytest.fixture(params=ISAS)
def isa(request, monkeypatch) -> str:
    monkeypatch.setenv("LUTKAN_ISA", request.param)
    return request.param


def artifact_of(program: Program) -> lutkan.Artifact:
    some = next(case for case in CASES if case.name == "chebyshev").artifact
    return replace(some, program=program, golden_x=None, golden_y=None)


def check(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    wrong = np.argwhere(~same_bits(found, expected))
    if len(wrong):
        row, column = wrong[0]
        pytest.fail(
            f"{what}: {len(wrong)} values differ, first row {row}, output {column}: {found[row, column]!r}, "
            f"expected {expected[row, column]!r}"
        )


def describe(program: Program) -> str:
    return " ".join(
        "+".join(branch.table.op for branch in step.branches) if isinstance(step, KANOp) else step.op
        for step in program.steps
    )


# ------------------------------------------------------------------------------------------------- programs at random


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_programs(chunk):
    for seed in range(chunk * A_CHUNK, (chunk + 1) * A_CHUNK):
        program = draw(seed)
        x = rows_for(program, seed)
        expected = reference.run(program, x)
        with_nan = np.isnan(x).any(axis=1)
        what = f"draw({seed}): {describe(program)}"
        packed = pack_program(program)
        assert packed_bytes(packed) <= needed_bytes(program) + 4096 * len(program.steps), what
        for name in ISAS:
            network = _native.Network(program.in_features, program.out_features, packed, name)
            for batch in BATCHES:
                start = (len(x) - batch) // 2
                part = slice(start, start + batch)
                y = np.full((batch, program.out_features), 7, F32)
                nan = network.run(x[part].copy(), y)
                check(y, expected[part], f"{what}, {name}, rows {part.start} to {part.stop}")
                assert nan == (np.argmax(with_nan[part]) if with_nan[part].any() else -1), what


@pytest.mark.skipif(bool(MISSING["numba"]), reason=f"needs {MISSING['numba']}")
@pytest.mark.parametrize("chunk", range(0, CHUNKS, 2))
def test_random_programs_on_numba(chunk):
    from lutkan.runtimes import numba_

    for seed in range(chunk * A_CHUNK, (chunk + 1) * A_CHUNK):
        program = draw(seed)
        x = rows_for(program, seed)
        run, _ = numba_.prepare(program)
        check(run(x), reference.run(program, x), f"draw({seed}): {describe(program)}")


def test_the_programs_reach_every_kind_and_flag():
    seen: dict[str, set[object]] = {}
    for seed in range(CHUNKS * A_CHUNK):
        program = draw(seed)
        seen.setdefault("widths", set()).update({program.in_features, program.out_features})
        for step in program.steps:
            seen.setdefault("op", set()).add(step.op)
            if not isinstance(step, KANOp):
                continue
            seen.setdefault("live", set()).add((step.inputs is None, step.outputs is None, step.bias is None))
            seen.setdefault("branches", set()).add(len(step.branches))
            seen.setdefault("requantize", set()).add(step.requantize is None)
            for branch in step.branches:
                seen.setdefault("pre", set()).add(len(branch.pre))
                table = branch.table
                seen.setdefault("table", set()).add(table.op)
                for field in (
                    "coefficient_bits", "degree", "shift", "outside", "position_bits", "base", "function", "boundary",
                    "interpolation", "samples", "bits", "coded",
                ):  # fmt: skip
                    seen.setdefault(f"{table.op}.{field}", set()).add(getattr(table, field, None))
                for field in ("low", "knots", "fold_low", "base_rows", "features"):
                    array = getattr(table, field, None)
                    if isinstance(array, np.ndarray) and table.shape[0] > 1:
                        seen.setdefault(f"{table.op}.{field}", set()).add(len(array) == 1)
    functions = {"identity", "silu", "gelu", "relu", "tanh", "sigmoid"}
    assert seen["table"] == set(TABLES)
    assert seen["op"] == {"select", "affine", "layer_norm", "activation", "quantize", "linear", "product", "kan"}
    assert seen["widths"] >= {1, 2, 3, 5, 7, 11, 13, 17, 97, 127}
    assert len(seen["live"]) == 6 and seen["branches"] == {1, 2, 3} and seen["pre"] == {0, 1, 2, 3}
    assert seen["code.coefficient_bits"] == {16, 8, 7, 6, 5, 4, 3, 2} and seen["code.bits"] == set(range(2, 9))
    assert seen["code.coded"] == seen["code.features"] == seen["code.knots"] == {True, False}
    assert seen["code.degree"] == {None, 1, 2, 3} and len(seen["requantize"]) == 2
    for table in ("basis", "knots", "radial", "base_product"):
        assert seen[f"{table}.coefficient_bits"] == {16, 8, 4, 3, 2}
    assert seen["basis.position_bits"] == {0, 1, 3, 6, 8, 10, 12}
    assert seen["basis.degree"] == seen["knots.degree"] == seen["spline.degree"] == {1, 2, 3}
    assert seen["basis.shift"] == seen["spline.shift"] == {0, 1, 2, 3}
    assert seen["basis.outside"] == seen["spline.outside"] == {"hold", "linear"}
    assert seen["basis.base"] == seen["segment.base"] == functions | {None}
    assert seen["base_product.function"] == seen["base.function"] == functions
    assert seen["segment.outside"] == {"clip", "zero", "base", "linear"}
    assert seen["segment.boundary"] == {"closed", "half_open"}
    assert seen["segment.interpolation"] == {"linear", "nearest"}
    for field in ("basis.low", "basis.fold_low", "basis.base_rows", "knots.knots", "segment.knots", "spline.low"):
        assert seen[field] == {True, False}, field


# ------------------------------------------------------------------------------------------------ through `lutkan.load`


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_conformance_list(case, isa):
    model = lutkan.load(case.artifact, runtime="native", self_test=case.artifact.golden_x is not None)
    assert model.info()["isa"] == isa
    check(model.predict(case.rows), lutkan.load(case.artifact, runtime="reference").predict(case.rows), isa)


def test_the_best_instruction_set_is_taken_unless_one_is_asked_for(monkeypatch):
    monkeypatch.delenv("LUTKAN_ISA", raising=False)
    artifact = artifact_of(draw(0))
    assert lutkan.load(artifact, runtime="native").info()["isa"] == ISAS[0]
    monkeypatch.setenv("LUTKAN_ISA", "")
    assert lutkan.load(artifact, runtime="native").info()["isa"] == ISAS[0]
    assert ISAS[-1] == "serial"


def test_an_unknown_instruction_set_is_refused_with_those_there_are(monkeypatch):
    monkeypatch.setenv("LUTKAN_ISA", "nonsense")
    with pytest.raises(RuntimeUnavailableError) as caught:
        lutkan.load(artifact_of(draw(0)), runtime="native")
    assert str(caught.value) == (
        f"LUTKAN_ISA='nonsense' is not available here; allowed: {', '.join(ISAS)}; fix: unset LUTKAN_ISA"
    )
    assert lutkan.load(artifact_of(draw(0)), runtime="reference").info()["isa"] == "numpy"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads(seed, threads, isa):
    program = draw(seed)
    model = lutkan.load(artifact_of(program), runtime="native", threads=threads, nan="propagate")
    for count in (127, 128, 200, 333):
        x = rows_for(program, seed, count)
        check(model.predict(x), reference.run(program, x), f"{count} rows, {threads} threads")


def test_as_many_threads_as_there_may_be():
    program = draw(14)
    x = np.tile(rows_for(program, 14), (90, 1))
    model = lutkan.load(artifact_of(program), runtime="native", threads=256, nan="propagate")
    check(model.predict(x), np.tile(reference.run(program, x[:200]), (90, 1)), "256 threads")


def test_concurrent_calls_of_models_of_all_sizes(isa):
    """Working memory belongs to a thread and serves whichever model comes next."""
    programs = [draw(seed) for seed in range(24)]
    models = [
        lutkan.load(artifact_of(p), runtime="native", nan="propagate", threads=1 + k % 3)
        for k, p in enumerate(programs)
    ]
    inputs = [[rows_for(p, seed, count) for count in (1, 40, 200)] for seed, p in enumerate(programs)]
    expected = [[reference.run(p, x) for x in batches] for p, batches in zip(programs, inputs, strict=True)]
    jobs = [(k, b) for _ in range(6) for b in range(3) for k in range(len(programs))]
    np.random.default_rng(0).shuffle(jobs)
    with ThreadPoolExecutor(6) as pool:
        found = pool.map(lambda job: models[job[0]].predict(inputs[job[0]][job[1]]), jobs)
        for (k, b), y in zip(jobs, found, strict=True):
            check(y, expected[k][b], f"program {k}, batch {b}")


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_out_of_any_kind(seed, isa):
    program = draw(seed)
    model = lutkan.load(artifact_of(program), runtime="native", nan="propagate")
    x = rows_for(program, seed, 70)
    expected, width = reference.run(program, x), program.out_features
    raw = np.zeros((70 * width + 1) * 4, np.uint8)
    targets = {
        "whole": np.empty((70, width), F32),
        "strided rows": np.empty((140, width), F32)[::2],
        "strided columns": np.empty((70, 2 * width), F32)[:, ::2],
        "reversed": np.empty((70, width), F32)[::-1],
        "Fortran": np.empty((width, 70), F32).T,
        "unaligned": raw[1 : 1 + 70 * width * 4].view(F32).reshape(70, width),
    }
    for name, out in targets.items():
        out[...] = 7
        assert model.predict(x, out=out) is out
        check(np.ascontiguousarray(out), expected, name)


def test_out_that_shares_memory_with_x(isa):
    """The rows are read before the answers are written over them."""
    program = next(p for p in map(draw, range(1000)) if p.in_features == p.out_features > 4)
    model = lutkan.load(artifact_of(program), runtime="native", nan="propagate")
    n = program.in_features
    x = rows_for(program, 1, 130)
    expected = reference.run(program, x)
    own = x.copy()
    assert model.predict(own, out=own) is own
    check(own, expected, "the same array")
    for shift in (1, 3, n, 70 * n):
        memory = np.zeros(130 * n + shift, F32)
        given, out = memory[: 130 * n].reshape(130, n), memory[shift:].reshape(130, n)
        given[...] = x
        model.predict(given, out=out)
        check(out, expected, f"{shift} numbers further")


def test_rows_of_any_kind(isa):
    program = draw(3)
    model = lutkan.load(artifact_of(program), runtime="native", nan="propagate")
    x = rows_for(program, 3, 90)
    expected = reference.run(program, x)
    fixed = x.copy()
    fixed.flags.writeable = False
    kinds = {
        "read-only": fixed,
        "Fortran": np.asfortranarray(x),
        "strided": np.repeat(x, 3, axis=0)[::3],
        "unaligned": np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(F32).reshape(x.shape),
        "float64": x.astype(np.float64),
        "other byte order": x.astype(">f4"),
    }
    for name, given in kinds.items():
        check(model.predict(given), expected, name)
    check(np.stack([model.predict(row) for row in x]), expected, "row by row")


# --------------------------------------------------------------------------------------------------------------- sizes


def wide(n_in: int, n_out: int, fill: int | None = None) -> Program:
    """One int8 table of straight lines, with coefficients at random or all the same."""
    rng = np.random.default_rng(5)
    q = rng.integers(-127, 128, (n_in, 3, n_out), dtype=np.int8)
    if fill is not None:
        q[...] = fill
    weights = np.zeros((4, 4), np.uint8)
    weights[:, 0] = [255, 170, 85, 1]
    weights[:, 1] = 255 - weights[:, 0]
    table = BasisTable(
        n_in, n_out, 3, 8, q, np.full(n_out, 2.0**-20, F32), 2, 2, 1, 0, "hold",
        np.zeros(1, F32), np.full(1, 4, F32), weights, None, None, None, None, None, None,
    )  # fmt: skip
    return Program(n_in, (KANOp("wide", n_in, n_out, None, None, None, (BranchOp((), table),)),))


@pytest.mark.parametrize("n_out", [1000, 16_000, 22_000, 40_000, 80_000, 1 << 20])
def test_working_memory_is_bounded_however_wide_a_layer_is(n_out):
    """Wide layers take fewer rows at a time: 64, 48, 32, 16, fewer than a dense product wants, one."""
    program = wide(2, n_out)
    x = np.random.default_rng(6).uniform(-0.2, 1.2, (70 if n_out < 200_000 else 3, 2)).astype(F32)
    expected = reference.run(program, x)
    packed = pack_program(program)
    for name in ISAS:
        network = _native.Network(2, n_out, packed, name)
        assert network.workspace < (40 << 20)
        y = np.full((len(x), n_out), 7, F32)
        network.run(x, y)
        check(y, expected, name)


@pytest.mark.parametrize("fill", [127, -127])
def test_as_many_inputs_as_there_may_be(fill, isa):
    """66311 inputs whose weights sum to 255 and whose coefficients are all at the end: the sum just fits."""
    n = 66311
    model = lutkan.load(artifact_of(wide(n, 1, fill)), runtime="native")
    for batch in (1, 13):
        y = model.predict(np.random.default_rng(7).uniform(0, 1, (batch, n)).astype(F32))
        assert (y == F32(n * 255 * fill) * F32(2.0**-20)).all()


def test_one_input_and_a_million_outputs_through_load(isa):
    program = wide(1, 1 << 20)
    x = np.linspace(0, 1, 2, dtype=F32)[:, None]
    y = lutkan.load(artifact_of(program), runtime="native", threads=3).predict(x)
    check(y, reference.run(program, x), isa)
