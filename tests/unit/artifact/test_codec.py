"""Programs as JSON and arrays: one spelling, and nothing that could hide in it."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.artifact.codec import decode_program, encode_program
from lutkan.artifact.program import OPS, ActivationOp, AffineOp, LayerNormOp, Program, SelectOp
from lutkan.errors import ArtifactError
from lutkan.tables import SegmentSpec


def f(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


PROGRAM = Program(
    3,
    (
        SelectOp(3, np.array([2, 0], np.int32)),
        AffineOp(f(1, 2), f(0, -1)),
        LayerNormOp(2, 0.0, None, f(1, 1)),
        ActivationOp(2, "prelu", f(0.5, 0.25)),
    ),
)


def test_the_json_form():
    body, arrays = encode_program(PROGRAM)
    assert json.loads(json.dumps(body)) == {
        "in_features": 3,
        "out_features": 2,
        "steps": [
            {"op": "select", "in_features": 3, "indices": {"array": "s0.indices"}},
            {"op": "affine", "scale": {"array": "s1.scale"}, "bias": {"array": "s1.bias"}},
            {"op": "layer_norm", "features": 2, "eps": 0.0, "weight": None, "bias": {"array": "s2.bias"}},
            {"op": "activation", "features": 2, "function": "prelu", "slope": {"array": "s3.slope"}},
        ],
    }
    assert sorted(arrays) == ["s0.indices", "s1.bias", "s1.scale", "s2.bias", "s3.slope"]


def test_there_and_back():
    body, arrays = encode_program(PROGRAM)
    again = decode_program(json.loads(json.dumps(body)), arrays)
    assert encode_program(again)[0] == body
    assert again.steps[0].indices.tolist() == [2, 0] and again.steps[2].weight is None


def test_eps_of_zero_survives_the_file():
    artifact = lutkan.Artifact(PROGRAM)
    assert lutkan.Artifact.open(artifact.to_bytes()).program.steps[2].eps == 0.0


def test_fields_of_operations_are_json_or_arrays():
    assert {
        "select",
        "affine",
        "layer_norm",
        "activation",
        "linear",
        "product",
        "kan",
        "branch",
        "segment",
        "base",
    } <= set(OPS)
    for name, kind in OPS.items():
        assert kind.op == name
        assert not {"op", "array"} & {field.name for field in fields(kind)}, "names that the JSON form needs itself"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body: body["steps"][1].update(scale={"array": "s1.bias"}), r"s1\.scale: array reference"),
        (lambda body: body["steps"][1].update(scale={"array": "s0.scale"}), r"s1\.scale: array reference"),
        (lambda body: body["steps"][1].update(scale={"array": "s1.scale", "x": 1}), r"s1\.scale: array reference"),
        (lambda body: body["steps"][1].update(scale={}), r"s1\.scale: not a known operation"),
        (lambda body: body["steps"][1].update(scale=[]), r"s1\.scale: a list"),
        (lambda body: body["steps"][1].update(scale=None), r"affine\.scale: is of type NoneType"),
        (lambda body: body["steps"][1].update(op="Affine"), r"s1: not a known operation"),
        (lambda body: body["steps"][1].update(steps=[]), r"s1 \(affine\): fields"),
        (lambda body: body.update(steps=[]), "array 's0.indices' belongs to no operation"),
        (lambda body: body.update(out_features=True), r"out_features is True"),
        (lambda body: body.update(out_features=2.0), r"out_features is 2\.0"),
        (lambda body: body.update(version=1), "malformed"),
    ],
)
def test_other_spellings_are_refused(change, words):
    body, arrays = encode_program(PROGRAM)
    change(body)
    with pytest.raises(ArtifactError, match=words):
        decode_program(body, arrays)


def test_deep_nesting_is_refused_not_recursed():
    body, arrays = encode_program(PROGRAM)
    inner = body["steps"][1]
    for _ in range(60):
        inner["scale"] = {"op": "affine", "scale": None, "bias": None}
        inner = inner["scale"]
    with pytest.raises(ArtifactError):
        decode_program(body, arrays)


def test_equal_programs_give_equal_bytes_whatever_the_layout_of_their_arrays():
    net = networks.splines()
    a = lutkan.compile(net, SegmentSpec(4))
    again = lutkan.Artifact(a.program, a.info, a.golden_x, a.golden_y)
    assert again.to_bytes() == a.to_bytes()
