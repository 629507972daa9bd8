"""Flow tables made on the spot, in the schema of CICIDS2017 and of NSL-KDD."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lutkan.lab.dos.flows import CICIDS2017, NSL_KDD, NSL_KDD_TEXT

#: The header of the published files: spaces in front of most names, and one name twice.
CICIDS2017_HEADER = [" Destination Port", *(" " + name.removesuffix(".1") for name in CICIDS2017), " Label"]


def flow_lines(
    classes: Sequence[tuple[str, int]] = (("BENIGN", 60), ("DoS Hulk", 60)), seed: int = 0
) -> list[list[str]]:
    """Return lines of flows: every class has a centre of its own in a few of the columns."""
    rng = np.random.default_rng(seed)
    lines = []
    for label, count in classes:
        centre = np.random.default_rng(len(label)).uniform(1.0, 8.0, size=len(CICIDS2017))
        for _ in range(count):
            values = np.exp(centre + rng.normal(scale=0.7, size=centre.size))
            values[40:60] = 0.0
            values[45] = rng.integers(0, 2)
            lines.append(["80", *(f"{value:.6g}" for value in values), label])
    return lines


def write_csv(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> Path:
    """Write a table, packed if its name says so."""
    text = "".join(",".join(line) + "\n" for line in [header, *lines] if line)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def write_flows(path: Path, classes: Sequence[tuple[str, int]] = (("BENIGN", 60), ("DoS Hulk", 60))) -> Path:
    """Write a table of flows with the published header."""
    return write_csv(path, CICIDS2017_HEADER, flow_lines(classes))


def connection_lines(classes: Sequence[tuple[str, int]], seed: int = 0, *, difficulty: bool = True) -> list[list[str]]:
    """Return lines of NSL-KDD: 38 numbers, three words, the label, a difficulty."""
    rng = np.random.default_rng(seed)
    lines = []
    for label, count in classes:
        attack = label != "normal"
        for _ in range(count):
            line = []
            for name in NSL_KDD:
                if name in NSL_KDD_TEXT:
                    choices = {"protocol_type": ("tcp", "udp"), "service": ("http", "private"), "flag": ("SF", "S0")}
                    line.append(choices[name][int(rng.random() < (0.8 if attack else 0.2))])
                elif name == "num_outbound_cmds":
                    line.append("0")
                else:
                    line.append(f"{np.exp(rng.normal(loc=2.0 * attack)):.5f}")
            lines.append([*line, label, *(["21"] if difficulty else [])])
    return lines


def write_nsl_kdd(folder: Path, train: Sequence[tuple[str, int]], test: Sequence[tuple[str, int]]) -> Path:
    """Write both files of NSL-KDD, without a header."""
    write_csv(folder / "KDDTrain+.txt", [], connection_lines(train, 0))
    write_csv(folder / "KDDTest+.txt.gz", [], connection_lines(test, 1))
    return folder
