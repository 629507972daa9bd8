"""Cells of the quantization tables, one small run of them, and the verdicts of a made-up one."""

import json

import numpy as np
import pytest

from lutkan.errors import InputError
from lutkan.lab.experiment import Run
from lutkan.lab.pages import page
from lutkan.lab.quant import DECISIONS, PTQ, QAT, ROWS, cells, run_quant
from lutkan.lab.quant_page import quant_page, verdicts
from lutkan.lab.trained import FAMILIES, Recipe, digits_split, import_trained, train_network


def test_cells():
    every = cells("digits")
    per_network = 1 + len(ROWS) * (len(PTQ) + len(QAT)) + 1  # and W4A8 by the default method
    assert len(every) == 5 * 4 * (per_network + 2) + 4
    assert len(set(every)) == len(every)
    assert {cell.seed for cell in every[: 4 * per_network]} == {0}  # a run that is cut short has all families
    assert {cell.data for cell in cells("mnist")} == {"mnist"}
    assert [c.method for c in cells("mnist", ("gram",), (3,), ("w4a4",), ("awq",))] == ["float", "awq", "auto"]
    compared = [(c.row, c.method) for c in cells("mnist", ("gram",)) if c.row in DECISIONS]
    assert compared == [("w8a8", "auto"), ("w4a8", "auto")]
    for wrong in ({"families": ("mlp",)}, {"rows": ("w1a1",)}, {"methods": ("magic",)}):
        with pytest.raises(InputError, match=str(next(iter(wrong.values()))[0])):
            cells("digits", **wrong)
    with pytest.raises(InputError, match="data 'cifar'"):
        cells("cifar")


def test_digits_split():
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    split = digits_split()
    assert len(split.X_test) == 355
    assert len(split.X_train) == 1797 - 355
    assert split.X_train.min() == -1.0
    assert split.X_train.max() == 1.0
    rows = {row.tobytes() for row in split.X_train}
    assert sum(row.tobytes() in rows for row in split.X_test) == 0
    assert np.array_equal(digits_split().X_test, split.X_test)


@pytest.mark.parametrize("family", FAMILIES)
def test_trained_networks_import_as_what_they_are(family):
    torch = pytest.importorskip("torch", reason="needs torch")
    from lutkan.lab.trained import _forward

    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(200, 6)).astype(np.float32)
    y = (X[:, :3].sum(axis=1) > 0).astype(np.int64) + (X[:, 3] > 0.5)
    losses = []
    state = train_network(
        family, (6, 5, 3), X, y, recipe=Recipe(epochs=30, lr=3e-2), progress=lambda epoch, loss: losses.append(loss)
    )
    assert losses[-1] < 0.7 * losses[0]
    net = import_trained(family, state)
    with torch.no_grad():
        tensors = {name: torch.from_numpy(array).double() for name, array in state.items()}
        answer = _forward(family, tensors, torch.from_numpy(X).double()).numpy()
    assert np.allclose(net.evaluate(X), answer, atol=1e-5)
    again = train_network(family, (6, 5, 3), X, y, recipe=Recipe(epochs=30, lr=3e-2))
    assert all(np.array_equal(state[name], again[name]) for name in state)


def test_a_small_run(tmp_path):
    pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    wanted = cells("digits", ("gram",), (0,), ("w3a3",), ("auto", "quantkan-uniform", "dsq"))
    wanted = [cell for cell in wanted if cell.kind != "speed"]
    run = run_quant(tmp_path / "quant.jsonl", wanted, quick=True, folder=tmp_path / "nets")
    by = {c["params"]["method"]: c["values"] for c in run.cells if c["params"]["kind"] in ("float", "ptq", "qat")}
    assert by["auto"]["accuracy"] > by["quantkan-uniform"]["accuracy"]
    for method in ("auto", "quantkan-uniform", "dsq"):
        values = by[method]
        assert values["drop"] == pytest.approx(by["float"]["accuracy"] - values["accuracy"])
        assert values["decision_difference"] < 0.05
        assert values["table_bytes"] < values["file_bytes"] < values["checkpoint_bytes"]
    alone = next(cell["values"] for cell in run.cells if cell["params"]["kind"] == "sensitivity")
    assert np.shape(alone["output_error"]) == (len(alone["parts"]), len(alone["bits"]))
    mixed = next(cell["values"] for cell in run.cells if cell["params"]["kind"] == "mixed")
    assert mixed["mixed_divergence"] <= mixed["flat_divergence"]
    assert mixed["mixed_bytes"] <= mixed["flat_bytes"]
    again = run_quant(tmp_path / "quant.jsonl", wanted, quick=True, folder=tmp_path / "nets")
    assert json.dumps(again.cells) == json.dumps(run.cells)  # nothing was measured twice
    text = page(run)
    assert "### Digits, sensitivity" in text
    assert "### Digits, mixed bits" in text
    assert "| QuantKAN preset (our re-implementation) |" in text
    assert f"{by['auto']['accuracy']:.2f}" in text


def made_up(**accuracy):
    """Return a run in which methods have these accuracies at W2A2, and the float network 98."""
    manifest = {"experiment": "quant"}
    found = []
    for family in FAMILIES:
        for seed in range(2):
            common = {"data": "digits", "family": family, "seed": seed}
            for method, value in accuracy.items():
                params = {**common, "row": "w2a2", "kind": "ptq", "method": method.replace("_", "-")}
                values = {"accuracy": value + seed, "drop": 98 - value, "seconds": 1.0 if method == "auto" else 10.0}
                found.append({"params": params, "values": values})
    return Run(manifest, tuple(found))


def test_verdicts():
    def words(**accuracy):
        return {v.asked: v.word for v in verdicts(made_up(**accuracy))}

    good = words(auto=95.0, quantkan_gptq=80.0, dsq=95.5)
    assert good["default W2A2 at least 5 points above the preset's GPTQ"] == "met"
    assert good["default W2A2 at least 91 % on every seed"] == "met"
    assert good["default W2A2 at least DSQ's QAT minus 1 point"] == "met"
    assert good["in less than 5 % of its time"] == "missed"
    assert good["preset W8A8: drop at most 0.3"] == "not measured"
    poor = words(auto=90.5, quantkan_gptq=86.0, dsq=95.5)
    assert poor["default W2A2 at least 5 points above the preset's GPTQ"] == "missed"
    assert poor["default W2A2 at least 91 % on every seed"] == "missed"
    assert poor["default W2A2 at least DSQ's QAT minus 1 point"] == "missed"


def test_decisions_of_integers():
    def run(*shares):
        params = {"data": "mnist", "family": "gram", "row": "w4a8", "kind": "ptq", "method": "auto"}
        values = {"accuracy": 96.0, "output_error": 0.004}
        cells = (
            {"params": {**params, "seed": seed}, "values": {**values, "decision_difference": share}}
            for seed, share in enumerate(shares)
        )
        return Run({"experiment": "quant"}, tuple(cells))

    def word(*shares):
        return next(v.word for v in verdicts(run(*shares)) if v.line == "C6")

    assert [word(0.0005, 0.0013), word(0.0005, 0.0017), word()] == ["met", "missed", "not measured"]
    text = quant_page(run(0.0005, 0.0017), ["# Title"], "The end.")
    assert "### MNIST, integers against fake quantization" in text
    assert "| W4A8 | 0.110 % | 0.0040 |" in text
    assert "### MNIST, W4A8" not in text
