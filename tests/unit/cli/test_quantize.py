"""`lutkan quantize`: the artifact it writes, what it prints, and its messages."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import lutkan
from lutkan.cli.app import app
from lutkan.lab.nets import efficient_kan, input_rows

RUNNER = CliRunner()
X = input_rows(5, 300)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file(efficient_kan((5, 6, 3)).state, "model.safetensors")
    np.save("X.npy", X)
    return tmp_path


def run(*arguments):
    return RUNNER.invoke(app, ["quantize", "model.safetensors", *arguments])


def test_the_artifact_is_what_the_library_makes(place):
    done = run("--method", "gptq", "--bits", "w3a5", "--calib", "X.npy", "-o", "m.lutkan", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    artifact = lutkan.Artifact.open("m.lutkan")
    net = lutkan.import_model("model.safetensors")
    same = lutkan.train.ptq.quantize_network(net, "w3a5", method="gptq", calibration=X).artifact(rows=X)
    assert artifact.content_id == same.content_id == told["content_id"]
    assert told["layers"][0]["input_bits"] == 5
    assert told["layers"][0]["weight_bits"] == {"spline": 3, "base": 3}
    assert told["calibration_rows"] == 300
    assert 0 < told["verification"]["mae"] < told["verification"]["max_abs"]
    model = lutkan.load("m.lutkan", self_test=True)
    assert np.array_equal(model.predict(X), lutkan.load(same).predict(X))


def test_text(place):
    done = run("--calib", "X.npy", "-o", "m.lutkan")
    assert done.exit_code == 0, done.output
    assert "method auto, calibrated on 300 rows" in done.output
    assert "spline 4, base 4" in done.output
    assert "verified 300 rows: max error" in done.output
    assert max(len(line) for line in done.output.splitlines()) <= 80


def test_no_data(place):
    done = run("--method", "zeroq", "-o", "m.lutkan")
    assert done.exit_code == 0, done.output
    assert "calibrated on no data" in done.output
    assert lutkan.load("m.lutkan").predict(X).shape == (300, 3)


def test_mixed_bits(place):
    done = run("--mixed", "--bits", "w3a8", "--calib", "X.npy", "-o", "m.lutkan", "--json")
    assert done.exit_code == 0, done.output
    search = json.loads(done.output)["search"]
    assert search["flat_bits"] == 3
    assert search["divergence"] <= search["flat_divergence"]
    assert lutkan.Artifact.open("m.lutkan").manifest["search"] == search


def test_the_text_says_whether_the_search_kept_the_bits(place):
    rest = ("--mixed", "--calib", "X.npy", "-o", "m.lutkan", "--bits")
    assert (
        "the search kept 2 bits everywhere" in run(*rest, "w2a8").output
    )  # 2 bits everywhere are the fewest there are
    assert len(set(json.loads(run(*rest, "w7a8", "--json").output)["search"]["bits"].values())) > 1
    text = run(*rest, "w7a8").output
    assert "the search kept" not in text and "with flat 6 bits" in text


def test_a_spec_with_bits_by_branch(place):
    from lutkan.tables import BranchSpec, CodeSpec, Spec

    spec = Spec(CodeSpec(input_bits=4, base=BranchSpec(bits=6), spline=BranchSpec(bits=2)))
    (place / "spec.json").write_text(json.dumps(spec.to_json()))
    done = run("--bits", "spec.json", "--calib", "X.npy", "-o", "m.lutkan", "--json")
    assert json.loads(done.output)["layers"][1]["weight_bits"] == {"spline": 2, "base": 6}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--calib", "X.npy"), "quantize without -o"),
        (("-o", "m.lutkan"), "quantize without --calib"),
        (("--mixed", "--method", "zeroq", "-o", "m.lutkan"), "--mixed without --calib"),
        (("--bits", "w1a8", "--calib", "X.npy", "-o", "m.lutkan"), "--bits w1a8"),
        (
            ("--bits", "w04a8", "--calib", "X.npy", "-o", "m.lutkan"),
            "--bits w04a8\n  allowed: w<2 to 8>a<2 to 8>, or a",
        ),
        (("--bits", "w4a9", "--calib", "X.npy", "-o", "m.lutkan"), "w<2 to 8>a<2 to 8>"),
        (("--bits", "int4", "--calib", "X.npy", "-o", "m.lutkan"), "such as --bits w4a8"),
        (("--bits", "none.json", "--calib", "X.npy", "-o", "m.lutkan"), "none.json: cannot be read"),
        (("--method", "best", "--calib", "X.npy", "-o", "m.lutkan"), "allowed: auto, quantkan-uniform"),
        (("--calib", "wide.npy", "-o", "m.lutkan"), "5"),
        (("--calib", "empty.npy", "-o", "m.lutkan"), "no rows"),
        (("--calib", "nan.npy", "-o", "m.lutkan"), "nan"),
    ],
)
def test_bad_input_ends_with_one_message(place, arguments, message):
    np.save("wide.npy", np.zeros((4, 6)))
    np.save("empty.npy", np.zeros((0, 5)))
    np.save("nan.npy", np.full((4, 5), np.nan))
    done = run(*arguments)
    assert done.exit_code == 1
    assert message.lower() in done.output.lower()
    assert "Traceback" not in done.output
    assert not (place / "m.lutkan").exists()
