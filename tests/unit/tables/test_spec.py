"""Specs: every field and its refusals, names, overrides by layer, the JSON form."""

from __future__ import annotations

import json

import pytest

from lutkan.errors import SpecError
from lutkan.tables import NAMED_SPECS, BasisSpec, BranchSpec, CodeSpec, SegmentSpec, Spec, resolve_spec

FIELDS = {
    "samples": ((2, 3, 64, 65536), (1, 0, -2, 65537, 16.0, "16", True, None)),
    "dtype": (("int8",), ("int4", "float32", None, 8)),
    "scheme": (("symmetric", None), ("asymmetric", "affine", 1)),
    "interpolation": (("linear", "nearest"), ("cubic", None, 0)),
    "value": (("auto", "spline_component", "phi"), ("spline", None)),
    "boundary_mode": (("half_open", "closed"), ("open", None)),
    "oob_policy": (("model", "clip_x", "zero_spline"), ("clip", "zero", None)),
    "segments": ((None, 1, 65536), (0, -1, 65537, 4.0, True, "4")),
    "domain": ((None, (-1.0, 1.0), (-1, 2), [0, 1]), ((1, 1), (2, 1), (1,), (0, 1, 2), 3, "ab", (0, float("inf")))),
    "percentile": ((None, (0, 100), (1.5, 99)), ((-1, 99), (1, 101), (50, 50), (99, 1), (float("nan"), 1), 5)),
    "keep_masked": ((True, False), (1, 0, "yes", None)),
}


def test_every_field_is_in_the_table():
    assert set(FIELDS) == set(SegmentSpec.__dataclass_fields__)


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, (good, _) in FIELDS.items() for v in good])
def test_allowed(field, value):
    spec = SegmentSpec(**{field: value})
    found = getattr(spec, field)
    if field == "scheme":
        assert found == "symmetric"
    else:
        assert found == (tuple(value) if isinstance(value, (list, tuple)) else value)
    assert Spec.from_json(json.loads(json.dumps(Spec(spec).to_json()))) == Spec(spec)


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, (_, bad) in FIELDS.items() for v in bad])
def test_refused_by_name(field, value):
    with pytest.raises(SpecError, match=field):
        SegmentSpec(**{field: value})


def test_defaults():
    spec = SegmentSpec()
    assert (spec.samples, spec.dtype, spec.scheme, spec.interpolation) == (64, "int8", "symmetric", "linear")
    assert (spec.value, spec.boundary_mode, spec.oob_policy) == ("auto", "half_open", "model")
    assert SegmentSpec(dtype="uint8").scheme == "asymmetric"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("segment-int8-L64", SegmentSpec()),
        ("segment-uint8-L16", SegmentSpec(16, "uint8")),
        ("segment-int8-L2", SegmentSpec(2)),
        ("segment-uint8-L65536", SegmentSpec(65536, "uint8")),
    ],
)
def test_names(name, expected):
    assert resolve_spec(name) == Spec(expected)


@pytest.mark.parametrize(
    "name", ["", "segment", "segment-int4-L64", "segment-int8-64", "SEGMENT-int8-L64", "segment-int8-L64 ", None, 7, []]
)
def test_unknown_names_say_what_there_is(name):
    with pytest.raises(SpecError, match="segment-int8-L<2 to 65536>"):
        resolve_spec(name)


def test_a_name_with_a_bad_number_is_refused():
    for name in ("segment-int8-L1", "segment-int8-L99999", "segment-int8-L999999999"):
        with pytest.raises(SpecError, match="samples"):
            resolve_spec(name)


def test_every_named_spec_resolves_to_itself():
    for name, spec in NAMED_SPECS.items():
        assert resolve_spec(name) == resolve_spec(spec) == resolve_spec(spec.to_json()) == Spec(spec)


def test_resolve_takes_specs_as_they_are():
    spec = Spec(SegmentSpec(4), (("0", SegmentSpec(8)),))
    assert resolve_spec(spec) is spec
    assert resolve_spec(spec.to_json()) == spec
    assert resolve_spec(SegmentSpec(4).to_json()) == Spec(SegmentSpec(4))


# -------------------------------------------------------------------------------------------------------- overrides


def test_the_first_pattern_that_matches_wins():
    a, b, c, d = (SegmentSpec(n) for n in (2, 3, 4, 5))
    spec = Spec(a, (("1", b), ("layers.*", c), ("*", d)))
    assert spec.for_layer(1, "layers.1") is b
    assert spec.for_layer(0, "layers.0") is c
    assert spec.for_layer(2, "head") is d
    assert Spec(a, (("layers.[01]", b),)).for_layer(2, "layers.2") is a


def test_a_pattern_is_not_a_prefix():
    assert Spec(SegmentSpec(2), (("1", SegmentSpec(3)),)).for_layer(11, "layers.11").samples == 2


def test_a_pattern_that_matches_nothing_is_refused_with_the_layers_there_are():
    spec = Spec(SegmentSpec(), (("layers.7", SegmentSpec(4)),))
    with pytest.raises(SpecError, match=r"'layers\.7' matches no layer; allowed: 0 or layers\.0, 1 or layers\.1"):
        spec.require_matches(("layers.0", "layers.1"))


@pytest.mark.parametrize("default", ["segment-int8-L64", None, {"samples": 4}, Spec(SegmentSpec())])
def test_the_default_is_a_layer_spec(default):
    with pytest.raises(SpecError, match=r"Spec\.default"):
        Spec(default)


@pytest.mark.parametrize(
    "overrides", ["ab", 5, (("0",),), (("0", "segment-int8-L64"),), ((0, SegmentSpec()),), ("0", SegmentSpec())]
)
def test_overrides_are_pairs(overrides):
    with pytest.raises(SpecError, match="override"):
        Spec(SegmentSpec(), overrides)


def test_lists_of_overrides_become_tuples():
    assert Spec(SegmentSpec(), [["0", SegmentSpec(4)]]) == Spec(SegmentSpec(), (("0", SegmentSpec(4)),))
    assert hash(Spec(SegmentSpec(), [["0", SegmentSpec(4)]]))


# -------------------------------------------------------------------------------------------------------------- JSON


def test_json_holds_type_version_and_data():
    body = SegmentSpec(16, "uint8", domain=(-1, 1)).to_json()
    assert body["type"] == "SegmentSpec" and body["version"] == 1
    assert body["data"]["domain"] == [-1.0, 1.0] and body["data"]["scheme"] == "asymmetric"
    assert set(body["data"]) == set(FIELDS)


GOOD = Spec(SegmentSpec(16), (("0", SegmentSpec(8, percentile=(1, 99))),)).to_json()


def edited(**changes) -> dict:
    body = json.loads(json.dumps(GOOD))
    for path, value in changes.items():
        where = body
        *parents, last = path.split("__")
        for part in parents:
            where = where[int(part) if part.isdigit() else part]
        if value is None:
            del where[last]
        else:
            where[last] = value
    return body


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (edited(type="Other"), "spec"),
        (edited(version=2), "version 2"),
        (edited(version=True), "version True"),
        (edited(version="1"), "version '1'"),
        (edited(data=None), "spec"),
        (edited(data=[]), "spec"),
        (edited(data__default=None), "fields"),
        (edited(data__extra=1), "fields"),
        (edited(data__overrides={}), "fields"),
        (edited(data__default=7), "spec 7"),
        (edited(data__overrides=[["0"]]), "override"),
        (edited(data__overrides=[[0, GOOD["data"]["default"]]]), "override"),
        (edited(data__default__type="TableSpec"), "spec"),
        (edited(data__default__data__sample=4), "unknown field 'sample'"),
        (edited(data__default__data__samples=1), "samples = 1"),
        (edited(data__default__data__dtype=[1, 2]), "dtype"),
        (edited(data__default__data__domain=[1, [2]]), "domain"),
        (edited(data__default__data__keep_masked=1), "keep_masked"),
        ([], "spec"),
        (None, "spec"),
        ("segment", "spec"),
    ],
)
def test_malformed_json_is_refused(body, words):
    with pytest.raises(SpecError, match=words):
        Spec.from_json(body)


def test_a_field_that_is_left_out_takes_its_default():
    assert Spec.from_json(edited(data__default__data__boundary_mode=None)).default.boundary_mode == "half_open"


def test_branches_are_overridden_by_pattern_too():
    narrow, wide = BranchSpec(2), BranchSpec(8, "edge")
    spec = Spec(
        CodeSpec(input_bits=4),
        overrides=(("layers.1.spline", narrow), ("*.base", wide), ("0", CodeSpec(input_bits=8))),
    )
    names = ("layers.0", "layers.1")
    spec.require_matches(names)
    assert spec.for_layer(0, names[0]) == CodeSpec(input_bits=8, base=wide)
    assert spec.for_layer(1, names[1]) == CodeSpec(input_bits=4, spline=narrow, base=wide)
    assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    with pytest.raises(SpecError, match=r"'\*\.mid' matches no branch"):
        Spec(CodeSpec(), overrides=(("*.mid", narrow),)).require_matches(names)
    with pytest.raises(SpecError, match="BasisSpec"):
        Spec(BasisSpec(), overrides=(("*.base", narrow),)).for_layer(0, "layers.0")
