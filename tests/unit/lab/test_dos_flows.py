"""Flow tables as they are published: headers, odd lines, timestamps, classes."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from flow_tables import (
    CICIDS2017_HEADER,
    connection_lines,
    flow_lines,
    write_csv,
    write_flows,
    write_nsl_kdd,
)
from lutkan.errors import InputError
from lutkan.lab.dos.flows import CICIDS2017, NSL_KDD, NSL_KDD_TEXT, kind_of, read_cicflow, read_nsl_kdd

FEATURES = ("Destination Port", *CICIDS2017)


def dated(when: list[str], names: tuple[str, ...] = ("Flow ID", "Timestamp")) -> tuple[list[str], list[list[str]]]:
    """A header and a line a timestamp, identifiers in front."""
    lines = flow_lines((("BENIGN", len(when)),))
    return [*names, *CICIDS2017_HEADER], [
        ["192.168.10.5-8.8.8.8", w, *line] for w, line in zip(when, lines, strict=True)
    ]


# --- CICFlowMeter ---


def test_names_lose_their_spaces_and_a_repeated_one_gets_a_number(tmp_path):
    path = write_flows(tmp_path / "a.csv", (("BENIGN", 3), ("DoS Hulk", 2)))
    flows = read_cicflow(path)
    assert flows.features == FEATURES
    assert len(flows.features) == 78
    assert flows.labels.tolist() == ["BENIGN"] * 3 + ["DoS Hulk"] * 2
    wanted = [[float(cell) for cell in line[:-1]] for line in flow_lines((("BENIGN", 3), ("DoS Hulk", 2)))]
    assert np.array_equal(flows.values, wanted)
    assert (flows.times, flows.is_test, flows.files) == (None, None, ("a.csv",))


def test_what_is_missing_is_named(tmp_path):
    gone = ("Flow Duration", "Idle Min", "Fwd Header Length.1")
    keep = [i for i, name in enumerate((*FEATURES, "Label")) if name not in gone]
    lines = [[line[i] for i in keep] for line in flow_lines()]
    path = write_csv(tmp_path / "a.csv", [CICIDS2017_HEADER[i] for i in keep], lines)
    with pytest.raises(InputError, match=r"a\.csv: missing columns: Flow Duration, Fwd Header Length\.1, Idle Min"):
        read_cicflow(path)


def test_a_table_without_labels_is_refused(tmp_path):
    path = write_csv(tmp_path / "a.csv", CICIDS2017_HEADER[:-1], [line[:-1] for line in flow_lines()])
    with pytest.raises(InputError, match="missing columns: Label"):
        read_cicflow(path)


def test_other_versions_of_the_meter_need_a_label_and_the_duration(tmp_path):
    header, lines = ["Flow Duration", "Tot Fwd Pkts", "label"], [["1", "2", "Benign"], ["3", "4", "DoS"]]
    flows = read_cicflow(write_csv(tmp_path / "a.csv", header, lines))
    assert flows.features == ("Flow Duration", "Tot Fwd Pkts")
    assert flows.values.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(InputError, match="missing columns: Flow Duration"):
        read_cicflow(write_csv(tmp_path / "b.csv", ["Duration", "Label"], [["1", "a"]]))


def test_a_cell_that_is_no_number_is_named_with_line_and_column(tmp_path):
    lines = flow_lines()
    lines[4][15] = "many"
    path = write_csv(tmp_path / "a.csv", CICIDS2017_HEADER, lines)
    with pytest.raises(InputError, match=rf"a\.csv, line 6, column '{FEATURES[15]}': 'many' is no number"):
        read_cicflow(path)


def test_a_line_of_another_length_is_named(tmp_path):
    lines = flow_lines()
    del lines[7][3]
    with pytest.raises(InputError, match=r"line 9: 78 cells; allowed: 79"):
        read_cicflow(write_csv(tmp_path / "a.csv", CICIDS2017_HEADER, lines))


def test_nan_infinity_and_empty_cells_are_read_as_they_stand(tmp_path):
    lines = flow_lines()
    lines[0][15], lines[0][16], lines[1][15], lines[2][15] = "Infinity", "NaN", " ", "-inf"
    flows = read_cicflow(write_csv(tmp_path / "a.csv", CICIDS2017_HEADER, lines))
    assert flows.values[0, 15] == np.inf
    assert flows.values[2, 15] == -np.inf
    assert np.isnan([flows.values[0, 16], flows.values[1, 15]]).all()
    assert np.isfinite(flows.values[3:]).all()


def test_lines_that_are_no_flows_are_counted(tmp_path):
    lines = flow_lines()
    odd = [CICIDS2017_HEADER, [""] * 79, [*lines[0][:-1], " "], *lines]
    flows = read_cicflow(write_csv(tmp_path / "a.csv", CICIDS2017_HEADER, odd))
    assert flows.counts == {"repeated_headers": 1, "empty_lines": 1, "unlabelled": 1}
    assert len(flows) == len(lines)


def test_a_folder_is_read_file_by_file_whatever_the_order_of_columns(tmp_path):
    lines = flow_lines((("BENIGN", 2),))
    write_csv(tmp_path / "a.csv", CICIDS2017_HEADER, lines)
    turned = [[line[-1], *line[-2::-1]] for line in lines]
    # The repeated name is numbered in the order of the file, so only that pair changes places.
    write_csv(tmp_path / "b.csv.gz", [CICIDS2017_HEADER[-1], *CICIDS2017_HEADER[-2::-1]], turned)
    (tmp_path / "notes.txt").write_text("not a table", encoding="utf-8")
    flows = read_cicflow(tmp_path)
    first, second = FEATURES.index("Fwd Header Length"), FEATURES.index("Fwd Header Length.1")
    swapped = flows.values[2:].copy()
    swapped[:, [first, second]] = swapped[:, [second, first]]
    assert np.array_equal(swapped, flows.values[:2])
    assert flows.files == ("a.csv", "b.csv.gz")


def test_files_of_a_folder_have_the_same_columns(tmp_path):
    header = ["Flow Duration", "Tot Fwd Pkts", "Label"]
    write_csv(tmp_path / "a.csv", header, [["1", "2", "x"]])
    write_csv(tmp_path / "b.csv", [header[0], header[2]], [["1", "x"]])
    with pytest.raises(InputError, match=r"b\.csv: missing columns: Tot Fwd Pkts"):
        read_cicflow(tmp_path)


def test_identifiers_are_left_out_and_so_is_what_the_user_says(tmp_path):
    header, lines = dated(["5/7/2017 8:42"] * 3)
    path = write_csv(tmp_path / "a.csv", header, lines)
    assert read_cicflow(path).features == FEATURES
    assert read_cicflow(path, drop=("Destination Port",)).features == CICIDS2017
    with pytest.raises(InputError, match=r"columns to leave out: Port: a\.csv has none of that name"):
        read_cicflow(path, drop=("Port",))


@pytest.mark.parametrize(
    ("when", "hours"),
    [
        (["5/7/2017 8:42", "5/7/2017 12:59", "5/7/2017 1:00", "5/7/2017 5:02"], [8.7, 12.983333, 13.0, 17.033333]),
        (["05/07/2017 01:00:30", "05/07/2017 13:00:00"], [1.008333, 13.0]),
        (["5/7/2017 1:00 AM", "5/7/2017 1:00 PM", "5/7/2017 12:30 AM", "5/7/2017 12:30 PM"], [1, 13, 0.5, 12.5]),
        (["2017-07-05 03:00:00.250", "2017-07-05T16:30"], [3.0, 16.5]),
    ],
    ids=["dial of twelve", "24 hours", "AM and PM", "year first"],
)
def test_timestamps(tmp_path, when, hours):
    header, lines = dated(when)
    flows = read_cicflow(write_csv(tmp_path / "a.csv", header, lines))
    midnight = np.datetime64("2017-07-05").astype("datetime64[s]").astype(np.int64)
    assert (flows.times - midnight) / 3600 == pytest.approx(hours, abs=1e-5)


@pytest.mark.parametrize("text", ["yesterday", "31/31/2017 8:00", ""])
def test_what_is_no_timestamp_is_named(tmp_path, text):
    header, lines = dated(["5/7/2017 8:42", text])
    with pytest.raises(InputError, match=f"a.csv: Timestamp '{text}'"):
        read_cicflow(write_csv(tmp_path / "a.csv", header, lines))


def test_labels_may_hold_bytes_of_another_encoding(tmp_path):
    path = write_csv(tmp_path / "a.csv", ["Flow Duration", "Label"], [["1", "Web Attack X XSS"], ["2", "BENIGN"]])
    path.write_bytes(path.read_bytes().replace(b" X ", b" \x96 "))
    assert read_cicflow(path).labels.tolist() == ["Web Attack - XSS", "BENIGN"]


def test_a_damaged_archive_is_an_error(tmp_path):
    path = write_flows(tmp_path / "a.csv.gz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"a\.csv\.gz: cannot be read"):
        read_cicflow(path)
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(InputError, match=r"a\.csv\.gz: no rows"):
        read_cicflow(path)


# --- NSL-KDD ---


def test_nsl_kdd_comes_with_its_split(tmp_path):
    folder = write_nsl_kdd(tmp_path, (("normal", 4), ("neptune", 3)), (("normal", 2), ("apache2", 1)))
    flows = read_nsl_kdd(folder)
    assert flows.is_test is not None
    assert flows.is_test.tolist() == [False] * 7 + [True] * 3
    assert flows.labels.tolist() == ["normal"] * 4 + ["neptune"] * 3 + ["normal"] * 2 + ["apache2"]
    assert flows.features == tuple(name for name in NSL_KDD if name not in NSL_KDD_TEXT)
    assert flows.values.shape == (10, 38)
    line = connection_lines((("normal", 4),))[2]
    assert flows.values[2].tolist() == [float(line[NSL_KDD.index(name)]) for name in flows.features]
    assert [flows.words[name][2] for name in NSL_KDD_TEXT] == line[1:4]


def test_the_whole_training_file_comes_before_a_part_of_it(tmp_path):
    folder = write_nsl_kdd(tmp_path, (("normal", 4), ("neptune", 3)), (("normal", 2),))
    write_csv(folder / "KDDTrain+_20Percent.txt", [], connection_lines((("normal", 1),)))
    assert read_nsl_kdd(folder).files == ("KDDTrain+.txt", "KDDTest+.txt.gz")
    (folder / "KDDTrain+.txt").unlink()
    assert read_nsl_kdd(folder).files == ("KDDTrain+_20Percent.txt", "KDDTest+.txt.gz")


def test_a_header_says_where_columns_are(tmp_path):
    folder = write_nsl_kdd(tmp_path, (("normal", 4),), (("normal", 2),))
    plain = read_nsl_kdd(folder)
    spelled = {"src_bytes": "src_byts", "srv_serror_rate": "srv_error_rate", "dst_host_count": " dst_host_count "}
    names = ["label", "#correctly_predicted", *(spelled.get(name, name) for name in reversed(NSL_KDD))]
    lines = [[line[41], line[42], *line[40::-1]] for line in connection_lines((("normal", 2),), 1)]
    (folder / "KDDTest+.txt.gz").unlink()
    write_csv(folder / "KDDTest+.txt", names, lines)
    again = read_nsl_kdd(folder)
    assert np.array_equal(again.values, plain.values)
    assert {name: again.words[name].tolist() for name in again.words} == {
        name: plain.words[name].tolist() for name in plain.words
    }


def test_columns_that_nsl_kdd_lacks_are_named(tmp_path):
    folder = write_nsl_kdd(tmp_path, (("normal", 4),), (("normal", 2),))
    write_csv(folder / "KDDTrain+.txt", [], [line[:39] for line in connection_lines((("normal", 2),))])
    with pytest.raises(InputError, match=r"39 columns; missing: dst_host_rerror_rate, dst_host_srv_rerror_rate, label"):
        read_nsl_kdd(folder)
    names = [*NSL_KDD, "label"]
    names[4:6] = ["from", "to"]
    write_csv(folder / "KDDTrain+.txt", names, [line[:42] for line in connection_lines((("normal", 2),))])
    with pytest.raises(InputError, match=r"KDDTrain\+\.txt: missing columns: src_bytes, dst_bytes;"):
        read_nsl_kdd(folder)


def test_the_difficulty_may_be_absent(tmp_path):
    folder = write_nsl_kdd(tmp_path, (("normal", 4),), (("normal", 2),))
    write_csv(folder / "KDDTrain+.txt", [], connection_lines((("normal", 4),), difficulty=False))
    assert len(read_nsl_kdd(folder)) == 6


def test_both_files_are_needed(tmp_path):
    write_nsl_kdd(tmp_path, (("normal", 4),), (("normal", 2),))
    (tmp_path / "KDDTest+.txt.gz").unlink()
    with pytest.raises(InputError, match=r"no KDDTest\+ file in it, only KDDTrain\+\.txt"):
        read_nsl_kdd(tmp_path)


# --- what lies there, and who is in it ---


def test_kinds(tmp_path):
    assert kind_of(write_flows(tmp_path / "flows" / "a.csv")) == "cicflow"
    assert kind_of(tmp_path / "flows") == "cicflow"
    assert kind_of(write_nsl_kdd(tmp_path / "nsl", (("normal", 1),), (("normal", 1),))) == "nsl-kdd"
    with pytest.raises(InputError, match="absent: no such file or folder"):
        kind_of(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: the folder is empty"):
        kind_of(tmp_path / "empty")
    (tmp_path / "empty" / "read.me").touch()
    with pytest.raises(InputError, match=r"empty: no table in it, only read\.me"):
        kind_of(tmp_path / "empty")


def test_classes_are_found_by_name_and_an_absent_one_lists_those_there_are(tmp_path):
    flows = read_cicflow(write_flows(tmp_path / "a.csv", (("BENIGN", 5), ("DoS Hulk", 3), ("DDoS", 2), ("Bot", 1))))
    assert flows.find("dos hulk") == ["DoS Hulk"]
    assert flows.find("dos") == ["DDoS", "DoS Hulk"]
    with pytest.raises(InputError) as caught:
        flows.find("DoS GoldenEye")
    assert str(caught.value) == (
        "class 'DoS GoldenEye': no row of a.csv has it; allowed: BENIGN (5), DoS Hulk (3), DDoS (2), Bot (1)"
    )


def test_a_label_called_dos_is_meant_before_all_of_them(tmp_path):
    flows = read_cicflow(write_flows(tmp_path / "a.csv", (("BENIGN", 5), ("DoS", 3), ("DDoS", 2))))
    assert flows.find("dos") == ["DoS"]


def test_denial_of_service_in_nsl_kdd(tmp_path):
    train, test = (("normal", 2), ("neptune", 1), ("satan", 1)), (("normal", 1), ("apache2", 1), ("guess_passwd", 1))
    assert read_nsl_kdd(write_nsl_kdd(tmp_path, train, test)).find("dos") == ["apache2", "neptune"]


def test_columns_of_nsl_kdd_can_be_left_out(tmp_path):
    flows = read_nsl_kdd(write_nsl_kdd(tmp_path, (("normal", 4),), (("normal", 2),)))
    less = flows.without(("duration", "flag"))
    assert less.features == flows.features[1:]
    assert np.array_equal(less.values, flows.values[:, 1:])
    assert list(less.words) == ["protocol_type", "service"]
    with pytest.raises(InputError, match=r"columns to leave out: port: KDDTrain\+\.txt has none of that name"):
        flows.without(("port",))


# --- the published files, where they are ---


def test_the_published_nsl_kdd(shared_data):
    flows = read_nsl_kdd(shared_data / "nsl_kdd")
    assert flows.is_test is not None
    assert (~flows.is_test).sum() == 25_192
    assert flows.is_test.sum() == 22_544
    train = flows.labels[~flows.is_test].tolist()
    assert (train.count("normal"), train.count("neptune")) == (13_449, 8_282)
    test = flows.labels[flows.is_test].tolist()
    assert (test.count("normal"), test.count("neptune")) == (9_711, 4_657)
    assert np.isfinite(flows.values).all()
    assert len(flows.find("dos")) == 11


def test_the_sample_in_the_schema_of_cicids2017(shared_data):
    flows = read_cicflow(shared_data / "cicids2017_sample")
    assert flows.features == CICIDS2017
    assert flows.classes() == {
        "WebAttack": 2180,
        "Bot": 1966,
        "DoS": 952,
        "BruteForce": 553,
        "PortScan": 397,
        "BENIGN": 227,
        "Infiltration": 36,
    }
    assert (~np.isfinite(flows.values).all(axis=1)).sum() == 10
