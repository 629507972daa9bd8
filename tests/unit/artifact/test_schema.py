"""docs/spec/artifact.schema.json and part 2 of docs/spec/artifact.md say what the code does."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from conformance.cases import CASES
from lutkan.artifact.artifact import Artifact
from lutkan.artifact.program import ACTIVATIONS, MAX_FEATURES, MAX_STEPS, OPS

jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
SPEC = Path(__file__).parents[3] / "docs" / "spec"
SCHEMA = json.loads((SPEC / "artifact.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_real_artifacts_fit(case):
    VALIDATOR.validate(case.artifact.manifest)


def test_an_artifact_without_extras_fits():
    VALIDATOR.validate(Artifact(CASES[0].artifact.program).manifest)


def test_every_operation_and_field_is_there():
    for name, kind in OPS.items():
        body = SCHEMA["$defs"][name]
        assert body["properties"]["op"] == {"const": name}
        every = {"op", *(field.name for field in fields(kind))}
        assert set(body["properties"]) == every, name
        assert set(body["required"]) == every - set(getattr(kind, "added", ())), name
        assert body["additionalProperties"] is False


def test_optional_fields_are_those_that_may_be_none():
    null = {"type": "null"}
    for name, kind in OPS.items():
        for field in fields(kind):
            if field.name in getattr(kind, "added", ()):
                continue
            allowed = SCHEMA["$defs"][name]["properties"][field.name]
            assert (null in allowed.get("anyOf", [])) == ("None" in str(field.type)), f"{name}.{field.name}"


def test_the_limits_are_those_of_the_code():
    assert SCHEMA["$defs"]["features"]["maximum"] == MAX_FEATURES
    assert SCHEMA["properties"]["program"]["properties"]["steps"]["maxItems"] == MAX_STEPS
    assert SCHEMA["$defs"]["function"]["enum"] == list(ACTIVATIONS)


def test_the_text_names_every_operation_and_field():
    text = (SPEC / "artifact.md").read_text().partition("## 2. Manifest")[2]
    for name, kind in OPS.items():
        assert f"`{name}`" in text, name
        for field in fields(kind):
            assert re.search(rf"`{field.name}`", text), f"{name}.{field.name}"


def broken() -> list[tuple[str, dict]]:
    manifest = next(case for case in CASES if case.name == "glued").artifact.manifest
    found = []

    def add(name: str, change) -> None:
        body = copy.deepcopy(manifest)
        change(body)
        found.append((name, body))

    steps = "program", "steps"
    add("no program", lambda m: m.pop("program"))
    add("other major version", lambda m: m.update(format_version=[2, 0]))
    add("an extra field", lambda m: m[steps[0]][steps[1]][0].update(more=1))
    add("a missing field", lambda m: m[steps[0]][steps[1]][0].pop("indices"))
    add("an unknown operation", lambda m: m[steps[0]][steps[1]][0].update(op="sort"))
    add("a table as a step", lambda m: m[steps[0]][steps[1]].append(m[steps[0]][steps[1]][1]["branches"][0]["table"]))
    add("a place with a float", lambda m: m[steps[0]][steps[1]][0].update(indices=["int32", 0.5, 5]))
    add("a place below 0", lambda m: m[steps[0]][steps[1]][0].update(indices=["int32", -1, 5]))
    add("an array in place of a place", lambda m: m[steps[0]][steps[1]][0].update(indices=[5, 0, 2, 2, 4]))
    add("an unknown enum", lambda m: m[steps[0]][steps[1]][1]["branches"][0]["table"].update(outside="wrap"))
    add("one sample", lambda m: m[steps[0]][steps[1]][1]["branches"][0]["table"].update(samples=1))
    add("no branches", lambda m: m[steps[0]][steps[1]][1].update(branches=[]))
    add("half of the golden vectors", lambda m: m["golden"].pop("y"))
    add("a bad hash", lambda m: m.update(content_id="0"))
    add("agreement above 1", lambda m: m["verification"].update(agreement=1.5))
    return found


@pytest.mark.parametrize(("name", "manifest"), broken(), ids=lambda value: value if isinstance(value, str) else "")
def test_it_refuses(name, manifest):
    assert not VALIDATOR.is_valid(manifest), name
