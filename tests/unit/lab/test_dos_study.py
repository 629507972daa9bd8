"""The study from flows to a page, on tables of a few rows."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flow_tables import write_flows, write_nsl_kdd
from lutkan.errors import InputError, SpecError
from lutkan.lab.dos import study as module
from lutkan.lab.dos.page import page
from lutkan.lab.dos.sides import Task
from lutkan.lab.dos.study import QUICK_PLAN, Source, Study, plan_cells, plan_of, recipe_of, run
from lutkan.lab.experiment import Run, read_run

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("sklearn", reason="needs scikit-learn")

SPECS = ("int16", "int8", "segment-int8-L16")


def make_study(folder: Path, *paths: Path, **more) -> Study:
    return Study(
        tuple(Source.of(path) for path in paths),
        hidden=(3,),
        recipe=recipe_of("clean", quick=True),
        models=str(folder / "models"),
        plan=replace(QUICK_PLAN, block_seconds=1e-5),
        **more,
    )


@pytest.fixture(autouse=True)
def _forget():
    module._read.cache_clear()
    module._trained.cache_clear()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Run, Path]:
    """A run on connections and flows, with timings of a single row."""
    folder = tmp_path_factory.mktemp("dos")
    nsl = write_nsl_kdd(
        folder / "nsl_kdd",
        (("normal", 60), ("neptune", 50), ("satan", 5)),
        (("normal", 40), ("neptune", 20), ("apache2", 15), ("mscan", 3)),
    )
    flows = write_flows(folder / "wednesday.pcap.csv", (("BENIGN", 60), ("DoS Hulk", 50), ("Bot", 4)))
    study = make_study(folder, nsl, flows)
    cells = plan_cells(study, seeds=(0, 1), specs=SPECS, batches=(1,))
    return run(study, cells, folder / "dos.jsonl"), folder


def test_what_is_measured(finished):
    run_, _ = finished
    found = [tuple(cell["params"].values()) for cell in run_.cells]
    wanted, timings = [], []
    for data, attack in (("nsl_kdd", "neptune"), ("nsl_kdd", "dos"), ("wednesday", "dos")):
        for seed in (0, 1):
            wanted.append(("model", data, attack, seed, "", 0))
            wanted += [("spec", data, attack, seed, spec, 0) for spec in SPECS]
        timings.append(("timing", data, attack, 0, "", 1))
    assert found == wanted + timings
    assert run_.manifest["seeds"] == [0, 1]
    parameters = run_.manifest["parameters"]
    assert list(parameters["data"]) == ["nsl_kdd", "wednesday"]
    assert all(len(digest) == 64 for files in parameters["data"].values() for digest in files.values())
    assert (parameters["protocol"], parameters["hidden"]) == ("clean", [3])


def test_the_float_model(finished):
    (cell,) = finished[0].select(part="model", data="nsl_kdd", attack="dos", seed=1)
    values = cell["values"]
    confusion = values["confusion"]
    assert confusion["tn"] + confusion["fp"] == 40
    assert confusion["fn"] + confusion["tp"] == 35
    assert values["accuracy"] == pytest.approx((confusion["tn"] + confusion["tp"]) / 75)
    assert values["precision"] == pytest.approx(confusion["tp"] / max(1, confusion["tp"] + confusion["fp"]))
    assert values["recall"] == pytest.approx(confusion["tp"] / 35)
    assert 0 <= values["auc"] <= 1
    by_label = values["called_attacks_by_label"]
    assert {label: count for label, (count, _) in by_label.items()} == {"normal": 40, "neptune": 20, "apache2": 15}
    assert by_label["normal"][1] == confusion["fp"]
    assert by_label["neptune"][1] + by_label["apache2"][1] == confusion["tp"]
    assert values["data"]["rows_of_other_classes"] == 8
    assert values["widths"] == [values["data"]["features"], 3, 1]
    assert values["edges"] == 3 * values["data"]["features"] + 3
    assert values["parameter_bytes"] == 4 * 10 * values["edges"]
    assert values["checkpoint_bytes"] > values["parameter_bytes"]
    features, hidden = values["layers"]
    assert features["outside_core"] < 0.2
    assert hidden["width"] == 3
    assert 0.0 <= hidden["outside_knots"] <= hidden["outside_core"] <= 1.0
    assert values["torch_float32"]["max_error"] < 1e-3


def test_the_tables(finished):
    run_, _ = finished
    for cell in run_.select(part="spec"):
        values = cell["values"]
        (model,) = run_.select(part="model", **{key: cell["params"][key] for key in ("data", "attack", "seed")})
        assert values["changed_decisions"] == len(values["changed"])
        assert values["f1_lost"] == pytest.approx(model["values"]["f1"] - values["f1"])
        assert 0 < values["mean_error"] <= values["max_error"] < 0.2
        assert values["table_bytes"] < values["file_bytes"]
        assert len(values["outside_tables"]) == 2
    by_spec = {cell["params"]["spec"]: cell["values"] for cell in run_.select(data="wednesday", seed=0, part="spec")}
    assert by_spec["int16"]["max_error"] < by_spec["int8"]["max_error"]
    assert by_spec["int8"]["file_bytes"] < by_spec["int16"]["file_bytes"] < by_spec["segment-int8-L16"]["file_bytes"]


def test_every_changed_decision_is_listed_with_its_float_score(tmp_path):
    study = make_study(tmp_path, write_flows(tmp_path / "flows.csv"))
    trained = module._trained(study, "flows", "dos", 0)
    logits = trained.exact.copy()
    rows = (2, len(logits) - 1)
    for row in rows:
        logits[row] = -logits[row]
    errors = module._errors(trained, logits)
    assert errors["changed_decisions"] == 2
    assert errors["max_error"] == pytest.approx(2 * np.abs(trained.exact[list(rows)]).max())
    for one, row in zip(errors["changed"], rows, strict=True):
        assert one["row"] == trained.sides.rows_test[row]
        assert one["label"] == ("DoS Hulk" if trained.sides.y_test[row] else "BENIGN")
        assert one["float_logit"] == trained.exact[row] == -one["logit"]
        assert one["float_score"] == pytest.approx(1 / (1 + np.exp(-trained.exact[row])))
        assert one["float_score"] + one["score"] == pytest.approx(1)


def test_all_arms_are_timed_on_the_trained_network(finished):
    (cell,) = finished[0].select(part="timing", data="wednesday")
    assert cell["values"]["clock"] == "wall"
    names = {arm["name"] for arm in cell["values"]["arms"]} | {one["name"] for one in cell["values"]["skipped"]}
    assert {
        "native int8",
        "numba int8",
        "reference int8",
        "pykan speed",
        "efficient-kan",
        "numpy basis + GEMM",
    } <= names
    for arm in cell["values"]["arms"]:
        assert arm["median_s"] > 0
        assert arm["max_error"] < 0.2
        assert "seconds" not in arm


def test_clocks(finished):
    assert plan_of("cpu").clock is time.thread_time
    assert plan_of("wall", quick=True) == QUICK_PLAN
    run_, _ = finished
    assert "Processor time" not in page(run_)
    cells = json.loads(json.dumps(run_.cells).replace('"clock": "wall"', '"clock": "cpu"'))
    assert page(Run(run_.manifest, tuple(cells))).count("Processor time, since others used the machine.") == 3


class Interrupted(Exception):
    pass


def test_a_stopped_run_goes_on_without_training_again_or_losing_a_cell(tmp_path, monkeypatch):
    path = write_flows(tmp_path / "flows.csv")
    study, output = make_study(tmp_path, path), tmp_path / "dos.jsonl"
    cells = plan_cells(study, seeds=(0, 1), specs=("int8",), batches=())

    def stop(done: int) -> None:
        if done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(study, cells, output, on_cell=stop)
    before = output.read_bytes()
    assert len(read_run(output).cells) == 2
    trained_before = sorted(p.name for p in (tmp_path / "models").iterdir())
    trained = []
    real = module.train
    monkeypatch.setattr(module, "train", lambda *a: trained.append(a[-1]) or real(*a))
    module._trained.cache_clear()
    whole = run(study, cells, output)
    assert output.read_bytes().startswith(before)
    assert [cell["params"]["seed"] for cell in whole.cells] == [0, 0, 1, 1]
    assert trained == [1]
    assert [one["machine"]["lutkan"] for one in whole.resumed] == [whole.manifest["machine"]["lutkan"]]
    assert page(whole).count("- went on with commit ") == 1
    assert len(list((tmp_path / "models").iterdir())) == len(trained_before) + 1
    module._trained.cache_clear()
    alone = run(study, cells, tmp_path / "again.jsonl")
    assert [cell["values"] for cell in alone.cells] == [cell["values"] for cell in whole.cells]
    assert trained == [1]


def test_other_data_or_another_recipe_is_another_network(tmp_path):
    path = write_flows(tmp_path / "flows.csv")
    study = make_study(tmp_path, path)
    module._trained(study, "flows", "dos", 0)
    module._trained(replace(study, recipe=recipe_of("clean", 3)), "flows", "dos", 0)
    write_flows(path, (("BENIGN", 60), ("DoS Hulk", 61)))
    module._trained.cache_clear()
    module._trained(study, "flows", "dos", 0)
    assert len(list((tmp_path / "models").iterdir())) == 3


def test_what_is_wrong_shows_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "train", lambda *a: pytest.fail("trained"))
    path = write_flows(tmp_path / "flows.csv")
    study = make_study(tmp_path, path)
    with pytest.raises(InputError, match="class 'Slowloris'"):
        plan_cells(study, attacks=("DoS Hulk", "Slowloris"))
    with pytest.raises(SpecError, match="int9"):
        plan_cells(study, specs=("int9",))
    with pytest.raises(InputError, match="no seeds"):
        plan_cells(study, seeds=())
    with pytest.raises(InputError, match="batches"):
        plan_cells(study, batches=(0,))
    with pytest.raises(InputError, match="no such file or folder"):
        plan_cells(make_study(tmp_path, tmp_path / "absent"))
    with pytest.raises(InputError, match="no two of one name"):
        make_study(tmp_path, path, path)
    with pytest.raises(InputError, match="hidden layers"):
        replace(study, hidden=(3, 0))


def test_the_protocol_of_the_paper_runs_from_end_to_end(tmp_path):
    study = make_study(tmp_path, write_flows(tmp_path / "flows.csv"), task=Task(protocol="paper"))
    study = replace(study, recipe=recipe_of("paper", 2))
    cells = plan_cells(study, attacks=("DoS Hulk",), seeds=(42,), specs=("segment-int8-L16",), batches=())
    model, table = run(study, cells, tmp_path / "dos.jsonl").cells
    assert model["values"]["widths"] == [78, 3, 1]
    assert model["values"]["data"]["test"] == {"normal": 12, "attack": 12}
    assert table["values"]["f1"] == pytest.approx(model["values"]["f1"], abs=0.1)


# --- the page ---


def numbers(text: str) -> set[str]:
    return {word for line in text.splitlines() for word in line.replace("|", " ").replace(",", " ").split()}


def test_the_page_shows_every_task_and_figure(finished):
    run_, _ = finished
    text = page(run_)
    assert "## nsl_kdd: neptune against normal" in text
    assert "## nsl_kdd: 2 classes of denial of service against normal" in text
    assert "## wednesday: DoS Hulk against BENIGN" in text
    found = numbers(text)
    for cell in run_.select(part="model"):
        assert {f"{cell['values'][name]:.5f}" for name in ("accuracy", "precision", "recall", "f1")} <= found
        assert f"{cell['values']['auc']:.6f}" in found
    for cell in run_.select(part="spec"):
        lost = cell["values"]["f1_lost"]
        assert {f"{cell['values']['f1']:.5f}", f"{-lost:+.5f}" if lost else "0"} <= found
        for one in cell["values"]["changed"]:
            assert f"{one['float_score']:.4f}" in found
    assert "No training row has the labels apache2" in text
    int8 = [cell["values"] for cell in run_.select(part="spec", data="wednesday", spec="int8")]
    most = [max(values[name] for values in int8) for name in ("changed_decisions", "file_bytes")]
    assert f"int8 {most[0]} in {most[1]:,} bytes" in " ".join(text.split())
    assert "- went on with" not in text
    assert "**NSL-KDD**" in text
    assert "sample in the schema" not in text


def test_bars_are_judged(finished):
    run_, _ = finished
    text = page(_edited(run_, "int8", f1_lost=0.00051))
    assert "| int8: F1 within 0.0005 of the float model | nsl_kdd, neptune | -0.00051 |" in text
    assert text.count("**not met**") >= 3
    text = page(_edited(_edited(run_, "int8", f1_lost=-0.0005), "int16", changed_decisions=0))
    assert text.count("**met**") == 6
    assert "**not met**" not in text
    # 75 test rows: one changed decision is more than one in 10 000.
    assert "| 1 of 75 | 1 of 75 | **not met** |" in page(_edited(run_, "int16", changed_decisions=1))


def _edited(run_: Run, spec: str, **values) -> Run:
    cells = json.loads(json.dumps(run_.cells))
    for cell in cells:
        if cell["params"]["spec"] == spec:
            cell["values"] |= values
    return Run(run_.manifest, tuple(cells))


def test_changed_decisions_of_few_bits_are_counted_on_the_page(finished):
    run_, _ = finished
    one = {
        "row": 7,
        "label": "x",
        "attack": 1,
        "float_logit": 0.25,
        "float_score": 0.5622,
        "logit": -0.1,
        "score": 0.475,
    }
    shown = _edited(run_, "int8", changed=[one], changed_decisions=1)
    assert "| int8 | 0 | 7 | x | 0.5622 | 0.4750 | +0.2500 | -0.1000 |" in page(shown)
    few = json.loads(json.dumps(shown.cells).replace('"int8"', '"int4"'))
    text = page(Run(run_.manifest, tuple(few)))
    assert "0.5622" not in text
    assert "1 of int4 with seed 0, 1 of int4 with seed 1" in text


def test_a_run_without_a_network_has_no_page(finished):
    run_, _ = finished
    with pytest.raises(InputError, match="no trained network"):
        page(Run(run_.manifest, run_.select(part="spec")))
