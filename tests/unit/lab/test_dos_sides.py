"""Cleaning, splitting without leaks, scaling on one side; the protocol of the published study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flow_tables import connection_lines, flow_lines, write_csv, write_flows, write_nsl_kdd
from lutkan.errors import InputError
from lutkan.lab.dos.flows import Flows, read_cicflow, read_nsl_kdd
from lutkan.lab.dos.sides import Task, prepare

HULK = Task("DoS Hulk")


def flows_of(values, labels, **more) -> Flows:
    values = np.asarray(values, dtype=np.float64)
    names = tuple(f"f{i}" for i in range(values.shape[1]))
    return Flows("cicflow", ("t.csv",), names, values, np.array(labels), **more)


@pytest.fixture
def flows() -> Flows:
    """100 rows of 3 features: 60 normal, 40 attacks, all different."""
    rng = np.random.default_rng(0)
    return flows_of(rng.lognormal(size=(100, 3)), ["BENIGN"] * 60 + ["DoS Hulk"] * 40)


def rows(array) -> set[bytes]:
    return {row.tobytes() for row in array}


def test_every_class_is_split_by_its_share(flows):
    sides = prepare(flows, replace(HULK, test_share=0.25))
    assert (sides.y_test == 0).sum() == 15
    assert (sides.y_test == 1).sum() == 10
    assert len(sides.y_train) == 75
    assert sides.report["split"] == "stratified"
    assert sides.X_train.dtype == sides.X_test.dtype == np.float32
    assert sorted(sides.labels_test) == ["BENIGN"] * 15 + ["DoS Hulk"] * 10
    assert [flows.labels[row] for row in sides.rows_test] == list(sides.labels_test)


def test_a_random_split_follows_the_seed(flows):
    first, same, other = (prepare(flows, HULK, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.rows_test, same.rows_test)
    assert not np.array_equal(first.rows_test, other.rows_test)


def test_rows_that_are_not_finite_or_come_twice_are_left_out_and_counted(flows):
    values = flows.values.copy()
    values[3, 1], values[50, 0] = np.nan, np.inf
    values[70] = values[69]  # a duplicate
    values[71] = values[10]  # a duplicate with another label
    sides = prepare(flows_of(values, flows.labels), HULK)
    assert sides.report["rows_not_finite"] == 2
    assert sides.report["duplicates"] == 2
    assert sides.report["duplicates_of_other_label"] == 1
    assert len(sides.y_train) + len(sides.y_test) == 96
    # Of equal rows the first stays.
    assert not set(sides.rows_test.tolist()) & {3, 50, 70, 71}


def test_zero_and_minus_zero_are_the_same_row():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(30, 2))
    values[0], values[1] = (0.0, 1.0), (-0.0, 1.0)
    assert prepare(flows_of(values, ["BENIGN", "BENIGN"] + ["BENIGN", "DoS"] * 14), Task()).report["duplicates"] == 1


def test_no_row_is_on_both_sides():
    rng = np.random.default_rng(2)
    values = rng.integers(0, 4, size=(400, 4)).astype(float)
    sides = prepare(flows_of(values, ["BENIGN", "DoS"] * 200), Task())
    assert sides.report["duplicates"] == 400 - len(np.unique(values, axis=0))
    assert not rows(sides.X_train) & rows(sides.X_test)


def test_rows_that_scaling_makes_equal_leave_the_training_side():
    # Two values that differ in float64 and not in float32, one on each side of the split by time.
    values = np.column_stack([np.arange(20.0) % 10, np.arange(20.0)])
    values[:, 0] = np.where(np.arange(20) < 10, values[:, 0], values[:, 0] + 1e-12)
    values[:, 1] = values[:, 0].round()
    times = np.arange(20.0)
    labels = ["BENIGN", "DoS"] * 10
    sides = prepare(flows_of(values, labels, times=times), Task(test_share=0.2))
    assert sides.report["training_rows_equal_to_test_rows"] == 4
    assert len(sides.y_train) == 12
    assert not rows(sides.X_train) & rows(sides.X_test)


def test_scaling_is_fitted_on_the_training_side_alone(flows):
    times = np.arange(100.0)
    before = prepare(flows_of(flows.values, flows.labels, times=times), HULK)
    values = flows.values.copy()
    values[before.rows_test] *= 1000.0
    after = prepare(flows_of(values, flows.labels, times=times), HULK)
    assert np.array_equal(before.X_train, after.X_train)
    assert before.X_train.min(axis=0).tolist() == [-1.0] * 3
    assert before.X_train.max(axis=0).tolist() == [1.0] * 3
    assert after.X_test.max() > 2.0
    logs = np.log1p(flows.values)
    train = np.setdiff1d(np.arange(100), before.rows_test)
    low, high = logs[train].min(axis=0), logs[train].max(axis=0)
    assert before.X_test == pytest.approx(2 * (logs[before.rows_test] - low) / (high - low) - 1, abs=1e-6)


def test_negative_values_keep_their_sign():
    values = np.column_stack([[-100.0, -1.0, 0.0, 1.0, 100.0] * 8, np.arange(40.0)])
    sides = prepare(flows_of(values, ["BENIGN", "DoS"] * 20), Task())
    order = np.concatenate([sides.X_train[:, 0], sides.X_test[:, 0]])
    assert len(np.unique(order)) == 5
    assert order.min() == -1.0


def test_by_time_every_class_is_cut_at_its_own_moment(flows):
    rng = np.random.default_rng(3)
    times = np.floor(rng.permutation(100) / 3.0)  # several flows a moment
    sides = prepare(flows_of(flows.values, flows.labels, times=times), HULK)
    assert sides.report["split"] == "time: the last part of every class"
    of_test = np.isin(np.arange(100), sides.rows_test)
    for label in ("BENIGN", "DoS Hulk"):
        mine = flows.labels == label
        assert times[mine & ~of_test].max() < times[mine & of_test].min()
        assert of_test[mine].mean() == pytest.approx(0.2, abs=0.08)


def test_flows_of_one_moment_cannot_be_split_by_time(flows):
    with pytest.raises(InputError, match="no normal row is left on the test side"):
        prepare(flows_of(flows.values, flows.labels, times=np.zeros(100)), HULK)


def test_a_split_by_time_needs_times(flows):
    with pytest.raises(InputError, match="the table has no Timestamp"):
        prepare(flows, replace(HULK, split="time"))


def test_a_timestamp_may_be_left_alone(flows):
    dated = flows_of(flows.values, flows.labels, times=np.arange(100.0))
    assert np.array_equal(prepare(dated, replace(HULK, split="stratified")).rows_test, prepare(flows, HULK).rows_test)


def test_other_classes_are_counted_and_left_out(flows):
    labels = flows.labels.astype(object)
    labels[:5] = "Bot"
    sides = prepare(flows_of(flows.values, labels.astype(str)), HULK)
    assert sides.report["rows_of_other_classes"] == 5
    assert sides.report["attack_classes"] == {"DoS Hulk": 40}
    assert sides.report["normal_classes"] == {"BENIGN": 55}


def test_classes_that_make_no_task(flows):
    with pytest.raises(InputError, match=r"class 'Bot': no row of t\.csv has it; allowed: BENIGN \(60\), DoS Hulk"):
        prepare(flows, Task("Bot"))
    with pytest.raises(InputError, match="DoS Hulk: both attack and normal"):
        prepare(flows, Task("dos", normal="BENIGN,dos hulk"))
    with pytest.raises(InputError, match="labels separated by commas"):
        prepare(flows, Task(" , "))
    only = flows_of(flows.values[:61], flows.labels[:61])
    with pytest.raises(InputError, match="no attack row is left on the training side"):
        prepare(only, HULK)


def test_bad_tasks():
    with pytest.raises(InputError, match="protocol 'strict'; allowed: clean, paper"):
        Task(protocol="strict")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="test share"):
        Task(test_share=1.0)
    with pytest.raises(InputError, match="the protocol of the paper with a split by time"):
        Task(protocol="paper", split="time")


def test_constant_features_are_left_out_by_name(tmp_path):
    sides = prepare(read_cicflow(write_flows(tmp_path / "a.csv")), HULK)
    assert "Destination Port" in sides.report["constant_features"]
    assert len(sides.features) == 78 - len(sides.report["constant_features"]) == sides.X_train.shape[1]


# --- NSL-KDD ---


def test_the_published_test_file_stays_whole_and_training_gives_way(tmp_path):
    train = connection_lines((("normal", 30), ("neptune", 30)), 0)
    test = connection_lines((("normal", 10), ("neptune", 10)), 1)
    write_csv(tmp_path / "KDDTrain+.txt", [], [*train, train[0], test[3], test[3]])
    write_csv(tmp_path / "KDDTest+.txt", [], [*test, test[0]])
    sides = prepare(read_nsl_kdd(tmp_path), Task("neptune"))
    assert len(sides.y_test) == 21
    assert sides.rows_test.tolist() == list(range(21))
    assert sides.report["equal_test_rows"] == 1
    assert sides.report["duplicates"] == 2
    assert sides.report["training_rows_equal_to_test_rows"] == 1
    assert len(sides.y_train) == 60
    assert not rows(sides.X_train) & rows(sides.X_test)


def test_words_become_a_column_each_and_unknown_ones_none(tmp_path):
    folder = write_nsl_kdd(tmp_path, (("normal", 30), ("neptune", 30)), (("normal", 10), ("neptune", 10)))
    lines = connection_lines((("normal", 10), ("neptune", 10)), 1)
    lines[4][2] = "gopher"
    (folder / "KDDTest+.txt.gz").unlink()
    write_csv(folder / "KDDTest+.txt", [], lines)
    sides = prepare(read_nsl_kdd(folder), Task("neptune"))
    assert sides.report["words_that_training_lacks"] == {"gopher": 1}
    assert sides.report["constant_features"] == ["num_outbound_cmds"]
    services = [sides.features.index(f"service={word}") for word in ("http", "private")]
    assert sides.X_test[4, services].tolist() == [-1.0, -1.0]
    others = np.delete(sides.X_test, 4, axis=0)[:, services]
    assert sorted(map(tuple, np.unique(others, axis=0).tolist())) == [(-1.0, 1.0), (1.0, -1.0)]
    assert [line[2] for line in lines].count("http") == (sides.X_test[:, services[0]] == 1.0).sum()


def test_rows_that_differ_in_a_word_alone_are_no_duplicates(tmp_path):
    train = connection_lines((("normal", 10), ("neptune", 10)), 0)
    twin = list(train[0])
    twin[1] = "icmp"
    write_csv(tmp_path / "KDDTrain+.txt", [], [*train, twin])
    write_csv(tmp_path / "KDDTest+.txt", [], connection_lines((("normal", 5), ("neptune", 5)), 1))
    sides = prepare(read_nsl_kdd(tmp_path), Task("neptune"))
    assert sides.report["duplicates"] == 0
    assert len(sides.y_train) == 21


# --- the paper ---


def test_the_protocol_of_the_paper_is_that_of_pandas_and_scikit_learn(tmp_path):
    pd = pytest.importorskip("pandas", reason="needs pandas")
    selection = pytest.importorskip("sklearn.model_selection", reason="needs scikit-learn")
    from sklearn.preprocessing import StandardScaler

    lines = flow_lines((("BENIGN", 90), ("Bot", 7), ("DoS Hulk", 60)))
    for row, column, text in ((2, 15, "Infinity"), (95, 20, "NaN"), (120, 15, "NaN")):
        lines[row][column] = text
    lines += lines[110:115]  # equal rows stay
    path = write_csv(tmp_path / "a.csv", [str(i) for i in range(78)] + ["Label"], lines)
    table = pd.read_csv(path)
    classes = [table[table["Label"] == label] for label in ("BENIGN", "DoS Hulk")]
    cohort = pd.concat([part.sample(n=65, random_state=42) for part in classes])
    y = (cohort["Label"] != "BENIGN").to_numpy().astype(int)
    X = cohort.drop(columns="Label").astype(float).replace([np.inf, -np.inf], np.nan)
    X_train, X_test, y_train, y_test = selection.train_test_split(X, y, test_size=0.2, random_state=42, stratify=y)
    middle = X_train.median()
    X_train, X_test = X_train.fillna(middle), X_test.fillna(middle)
    low, high = X_train.quantile(0.25), X_train.quantile(0.75)
    bounds = {"lower": low - 3 * (high - low), "upper": high + 3 * (high - low), "axis": 1}
    scaler = StandardScaler().fit(X_train.clip(**bounds))

    flows = read_cicflow(write_flows(tmp_path / "b.csv", (("BENIGN", 2),)))
    rows_ = [[float(cell) for cell in line[:-1]] for line in lines]
    flows = replace(flows, values=np.array(rows_), labels=np.array([line[-1] for line in lines]))
    sides = prepare(flows, Task("DoS Hulk", protocol="paper"), seed=42)
    assert np.array_equal(sides.y_train, y_train)
    assert np.array_equal(sides.y_test, y_test)
    assert sides.rows_test.tolist() == X_test.index.tolist()
    assert sides.X_train == pytest.approx(scaler.transform(X_train.clip(**bounds)), abs=1e-5)
    assert sides.X_test == pytest.approx(scaler.transform(X_test.clip(**bounds)), abs=1e-5)
    assert sides.report["rows_of_each_class"] == 65
    assert len(sides.features) == 78


def test_the_protocol_of_the_paper_counts_what_leaks():
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(100, 3))
    values[50:75], values[75:] = 0.25, 0.75  # two attacks, 25 times each
    sides = prepare(flows_of(values, ["BENIGN"] * 50 + ["DoS"] * 50), Task(protocol="paper"))
    assert sides.report["test_rows_that_training_holds"] == 10


def test_the_protocol_of_the_paper_is_for_flows(tmp_path):
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    folder = write_nsl_kdd(tmp_path, (("normal", 30), ("neptune", 30)), (("normal", 10), ("neptune", 10)))
    with pytest.raises(InputError, match="the protocol of the paper on NSL-KDD"):
        prepare(read_nsl_kdd(folder), Task("neptune", protocol="paper"))
    values = np.column_stack([np.full(20, np.nan), np.arange(20.0)])
    with pytest.raises(InputError, match="no finite value on the training side: f0"):
        prepare(flows_of(values, ["BENIGN", "DoS"] * 10), Task(protocol="paper"))
