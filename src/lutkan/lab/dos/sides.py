"""From a flow table to two sides of a classifier: cleaning, a split without leaks, scaling fitted on one side."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import InputError, RuntimeUnavailableError
from lutkan.lab.dos.flows import Flows

__all__ = ["PROTOCOLS", "Sides", "Task", "prepare"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Rows = NDArray[np.int64]

PROTOCOLS = ("clean", "paper")
# Of the published study: at most as many rows a class, clipping at so many interquartile ranges.
_PAPER_ROWS = 231_073
_PAPER_IQR = 3.0


@dataclass(frozen=True)
class Task:
    """Which flows are told apart, and how the rows are cleaned, split and scaled.

    Attributes
    ----------
    attack : str
        Classes that count as 1, by label, separated by commas; "dos" is all denial of service.
    normal : str
        Classes that count as 0; empty for "normal" in NSL-KDD and "BENIGN" in other tables.
    protocol : {"clean", "paper"}
        "clean": rows with NaN or infinities are left out, of equal rows the first stays, and no row of the training
        side equals one of the test side after scaling. Scaled is `sign(x) log(1 + |x|)`, linearly to [-1, 1] between
        the smallest and the largest of the training side; words become a column a word of that side, -1 or 1; columns
        that are constant there are left out.
        "paper": as in the published study of DoS Hulk against BENIGN (arXiv 2601.08044, the revision of its code):
        as many normal rows as attacks, drawn at random, equal rows and all; stratified split; what is not finite takes
        the training median; values are clipped at 3 interquartile ranges beyond the training quartiles, and
        standardised with the training mean and deviation.
    split : {"auto", "time", "stratified"}
        Where the files do not say which side a row is on: by time, the last part of every class for testing, or at
        random by class. "auto" is by time where there is a Timestamp.
    test_share : float
        Share of every class for testing.
    """

    attack: str = "dos"
    normal: str = ""
    protocol: str = "clean"
    split: str = "auto"
    test_share: float = 0.2

    def __post_init__(self) -> None:
        for name, allowed in (("protocol", PROTOCOLS), ("split", ("auto", "time", "stratified"))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} {getattr(self, name)!r}", ", ".join(allowed))
        if not 0.0 < self.test_share < 1.0:
            raise InputError(f"test share {self.test_share}", "a share above 0 and below 1")
        if self.protocol == "paper" and self.split == "time":
            raise InputError("the protocol of the paper with a split by time", "its stratified split", "--split auto")


@dataclass(frozen=True, eq=False)
class Sides:
    """Two sides of a classifier.

    Attributes
    ----------
    X_train, X_test : float32 [N, F]
    y_train, y_test : int64 [N]
        1 is an attack.
    features : tuple of str
    rows_test : int64 [N]
        Number of each test row in its table, from 0.
    labels_test : tuple of str
    report : dict
        What was read, left out and kept, as counts.
    """

    X_train: F32
    y_train: Rows
    X_test: F32
    y_test: Rows
    features: tuple[str, ...]
    rows_test: Rows
    labels_test: tuple[str, ...]
    report: dict[str, Any]


def prepare(flows: Flows, task: Task, seed: int = 0) -> Sides:
    """Clean, split and scale.

    Parameters
    ----------
    flows : Flows
    task : Task
    seed : int
        Of a random split; a split by time or by files is the same for all seeds.

    Raises
    ------
    InputError
        A class is absent, or has too few rows for two sides; a split by time without a Timestamp.
    RuntimeUnavailableError
        The protocol of the paper without scikit-learn, whose random split it takes.
    """
    attacks, normals = _classes(flows, task)
    chosen = np.flatnonzero(np.isin(flows.labels, attacks + normals))
    y = np.isin(flows.labels, attacks).astype(np.int64)
    report: dict[str, Any] = {
        "files": list(flows.files),
        "rows": len(flows),
        **flows.counts,
        "attack_classes": _counted(flows, attacks),
        "normal_classes": _counted(flows, normals),
        "rows_of_other_classes": len(flows) - len(chosen),
        "protocol": task.protocol,
    }
    if task.protocol == "paper":
        train, test = _paper_split(flows, task, chosen, y, seed, report)
    else:
        train, test = _clean_split(flows, task, chosen, y, seed, report)
    for side, rows in (("training", train), ("test", test)):
        for value, word in ((0, "normal"), (1, "attack")):
            if not (y[rows] == value).any():
                raise InputError(
                    f"no {word} row is left on the {side} side", "both classes on both sides", "take more rows"
                )
    if task.protocol == "paper":
        X_train, X_test, features = _standardised(flows, train, test, report)
    else:
        X_train, X_test, features = _ranged(flows, train, test, report)
    twins = np.isin(_keys(X_train), _keys(X_test))
    if task.protocol == "paper":
        report["test_rows_that_training_holds"] = int(np.isin(_keys(X_test), _keys(X_train)).sum())
    else:
        report["training_rows_equal_to_test_rows"] = int(twins.sum())
        X_train, train = X_train[~twins], train[~twins]
    report |= {
        "features": len(features),
        "train": {"normal": int((y[train] == 0).sum()), "attack": int((y[train] == 1).sum())},
        "test": {"normal": int((y[test] == 0).sum()), "attack": int((y[test] == 1).sum())},
    }
    if len(np.unique(y[train])) < 2:
        raise InputError("all training rows of a class equal rows of the test side", "other rows for training")
    start = 0 if flows.is_test is None else int(np.argmax(flows.is_test))
    return Sides(X_train, y[train], X_test, y[test], features, test - start, tuple(flows.labels[test].tolist()), report)


def _classes(flows: Flows, task: Task) -> tuple[list[str], list[str]]:
    normal = task.normal or ("normal" if flows.source == "nsl-kdd" else "BENIGN")
    found = []
    for names in (task.attack, normal):
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        if not wanted:
            raise InputError(f"classes {names!r}", "labels separated by commas")
        found.append(sorted({label for name in wanted for label in flows.find(name)}))
    both = sorted(set(found[0]) & set(found[1]))
    if both:
        raise InputError(f"{', '.join(both)}: both attack and normal", "a class on one side only")
    return found[0], found[1]


def _counted(flows: Flows, labels: list[str]) -> dict[str, int]:
    counts = flows.classes()
    return {label: counts[label] for label in labels}


def _keys(array: NDArray[Any]) -> NDArray[np.void]:
    """Return a digest of 16 bytes a row; -0.0 and 0.0 are one."""
    array = np.ascontiguousarray(array + 0.0)
    digests = (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in array)
    return np.frombuffer(b"".join(digests), dtype="V16")


# ------------------------------------------------------------------------------------------------------------- clean


def _clean_split(
    flows: Flows, task: Task, chosen: Rows, y: Rows, seed: int, report: dict[str, Any]
) -> tuple[Rows, Rows]:
    finite = np.isfinite(flows.values[chosen]).all(axis=1)
    report["rows_not_finite"] = int((~finite).sum())
    chosen = chosen[finite]
    numbers = flows.values[chosen]
    codes = [np.unique(column[chosen], return_inverse=True)[1] for column in flows.words.values()]
    keys = _keys(np.column_stack([numbers, *codes]) if codes else numbers)
    if flows.is_test is None:
        kept = _first_of_equals(keys, y[chosen], report)
        chosen = chosen[kept]
        if task.split == "time" and flows.times is None:
            raise InputError("a split by time: the table has no Timestamp", "--split stratified")
        if flows.times is not None and task.split != "stratified":
            report["split"] = "time: the last part of every class"
            return _by_time(flows.times, task.test_share, chosen, y)
        report["split"] = "stratified"
        return _stratified(task.test_share, chosen, y, seed)
    report["split"] = "as published: one file for training, one for testing"
    of_test = flows.is_test[chosen]
    # The test file stays as it is published; equal rows in it are counted only.
    report["equal_test_rows"] = int(of_test.sum() - len(np.unique(keys[of_test])))
    train = chosen[~of_test]
    return train[_first_of_equals(keys[~of_test], y[train], report)], chosen[of_test]


def _first_of_equals(keys: NDArray[np.void], y: Rows, report: dict[str, Any]) -> Rows:
    """Keep the first of equal rows, and count the others, and those of them that have another label."""
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    report["duplicates"] = len(keys) - len(first)
    report["duplicates_of_other_label"] = int((y != y[first][group]).sum())
    return np.sort(first)


def _by_time(times: F64, share: float, chosen: Rows, y: Rows) -> tuple[Rows, Rows]:
    """Cut every class at its own time, so that flows of one moment and class stay on one side."""
    later = np.zeros(len(chosen), dtype=bool)
    for value in (0, 1):
        mine = np.flatnonzero(y[chosen] == value)
        if len(mine):
            when = times[chosen[mine]]
            cut = np.sort(when)[min(len(when) - 1, round(len(when) * (1.0 - share)))]
            # Where that moment is the first of all, the cut comes behind it.
            later[mine] = when >= cut if (when < cut).any() else when > cut
    return chosen[~later], chosen[later]


def _stratified(share: float, chosen: Rows, y: Rows, seed: int) -> tuple[Rows, Rows]:
    rng = np.random.default_rng(seed)
    of_test = np.zeros(len(chosen), dtype=bool)
    for value in (0, 1):
        mine = rng.permutation(np.flatnonzero(y[chosen] == value))
        of_test[mine[: max(1, round(share * len(mine)))]] = True
    return chosen[~of_test], chosen[of_test]


def _ranged(flows: Flows, train: Rows, test: Rows, report: dict[str, Any]) -> tuple[F32, F32, tuple[str, ...]]:
    """Scale to [-1, 1] on the training side, and spread words over columns."""
    parts: list[tuple[F64, F64]] = []
    features: list[str] = []

    def logarithm(rows: Rows) -> F64:
        return np.sign(flows.values[rows]) * np.log1p(np.abs(flows.values[rows]))

    fitted, seen = logarithm(train), logarithm(test)
    low, high = fitted.min(axis=0), fitted.max(axis=0)
    varying = high > low
    report["constant_features"] = [name for name, varies in zip(flows.features, varying, strict=True) if not varies]
    slope = 2.0 / (high - low)[varying]
    parts.append(tuple((part[:, varying] - low[varying]) * slope - 1.0 for part in (fitted, seen)))  # type: ignore[arg-type]
    features += [name for name, varies in zip(flows.features, varying, strict=True) if varies]
    unknown: Counter[str] = Counter()
    for name, column in flows.words.items():
        words = np.unique(column[train])
        unknown.update(column[test][~np.isin(column[test], words)].tolist())
        if len(words) > 1:
            parts.append(tuple(2.0 * (column[rows][:, None] == words) - 1.0 for rows in (train, test)))  # type: ignore[arg-type]
            features += [f"{name}={word}" for word in words.tolist()]
    if flows.words:
        report["words_that_training_lacks"] = dict(unknown)
    X_train, X_test = (np.concatenate([pair[side] for pair in parts], axis=1).astype(np.float32) for side in (0, 1))
    return X_train, X_test, tuple(features)


# ------------------------------------------------------------------------------------------------------------- paper


def _paper_split(
    flows: Flows, task: Task, chosen: Rows, y: Rows, seed: int, report: dict[str, Any]
) -> tuple[Rows, Rows]:
    """Draw as many rows of both classes and split them, as pandas and scikit-learn do from this seed."""
    try:
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise RuntimeUnavailableError(
            "the protocol of the paper takes scikit-learn's split", fix="pip install scikit-learn"
        ) from error
    if flows.is_test is not None or flows.words:
        raise InputError("the protocol of the paper on NSL-KDD", "tables of CICFlowMeter", "--protocol clean")
    normal, attack = (chosen[y[chosen] == value] for value in (0, 1))
    count = min(_PAPER_ROWS, len(normal), len(attack))
    # The generator that the published study seeds.
    drawn = [rows[np.random.RandomState(seed).choice(len(rows), count, replace=False)] for rows in (normal, attack)]
    cohort = np.concatenate(drawn)
    report |= {"rows_of_each_class": count, "split": "stratified"}
    train, test = train_test_split(cohort, test_size=task.test_share, random_state=seed, stratify=y[cohort])
    return np.asarray(train), np.asarray(test)


def _standardised(flows: Flows, train: Rows, test: Rows, report: dict[str, Any]) -> tuple[F32, F32, tuple[str, ...]]:
    """Fill with medians, clip at 3 interquartile ranges beyond the quartiles, standardise: all fitted on training."""
    sides = [np.where(np.isfinite(part), part, np.nan) for part in (flows.values[train], flows.values[test])]
    empty = np.isnan(sides[0]).all(axis=0)
    if empty.any():
        names = ", ".join(flows.features[column] for column in np.flatnonzero(empty))
        raise InputError(f"no finite value on the training side: {names}", "columns with values", "leave them out")
    report["cells_filled_with_medians"] = int(sum(np.isnan(part).sum() for part in sides))
    median = np.nanmedian(sides[0], axis=0)
    filled = [np.where(np.isnan(part), median, part) for part in sides]
    low, high = np.percentile(filled[0], (25, 75), axis=0)
    reach = _PAPER_IQR * (high - low)
    clipped = [np.clip(part, low - reach, high + reach) for part in filled]
    mean, deviation = clipped[0].mean(axis=0), clipped[0].std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    X_train, X_test = (((part - mean) / deviation).astype(np.float32) for part in clipped)
    return X_train, X_test, flows.features
