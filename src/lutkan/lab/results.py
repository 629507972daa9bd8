"""Results as files and as Markdown: every number beside the machine and the command that it came from."""

from __future__ import annotations

import datetime
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lutkan.lab.fingerprint import fingerprint
from lutkan.lab.suite import Case, Measured
from lutkan.lab.timing import Plan

__all__ = ["case_markdown", "header", "machine_markdown", "markdown_table", "microseconds", "write_json"]


def header(benchmark: str, command: Sequence[str], plan: Plan, pinned: dict[str, Any]) -> dict[str, Any]:
    """Return what stands at the top of every result file.

    Parameters
    ----------
    benchmark : str
    command : sequence of str
        The command that measured.
    plan : Plan
    pinned : dict
        What `one_thread` returned.
    """
    return {
        "benchmark": benchmark,
        "format_version": 1,
        "command": shlex.join(command),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": fingerprint(),
        "pinned": pinned,
        "plan": {
            "rounds": plan.rounds,
            "blocks": plan.blocks,
            "block_seconds": plan.block_seconds,
            "arm_seconds": plan.arm_seconds,
            "seed": plan.seed,
            "clock": getattr(plan.clock, "__name__", "?"),
        },
    }


def write_json(path: Path, results: dict[str, Any]) -> Path:
    """Write results, and the folder if it is absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return path


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table: the first row is the head, the first column stands left, the others right.

    Examples
    --------
    >>> print(markdown_table([("arm", "us"), ("a", "1.0")]))
    | arm | us |
    |:--|--:|
    | a | 1.0 |
    """
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|:--|" + "--:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)])


def microseconds(seconds: float) -> str:
    """Write a time in microseconds with three digits.

    Examples
    --------
    >>> microseconds(1.2345e-6), microseconds(0.12345)
    ('1.23', '123,450')
    """
    micro = 1e6 * seconds
    return f"{micro:,.0f}" if micro >= 100 else f"{micro:.3g}"


def machine_markdown(results: dict[str, Any]) -> str:
    """Describe machine, versions and plan of a result file, a line each."""
    machine, pinned, plan = results["machine"], results["pinned"], results["plan"]
    sizes = ", ".join(f"{name} {size // 1024:,} KB" for name, size in machine["caches"].items())
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    commit = machine["commit"] or "unknown"
    threads = "one thread" if results.get("threads", 1) == 1 else f"{results['threads']} threads"
    place = "on all cores" if pinned["core"] is None else f"on core {pinned['core']}"
    lines = [
        f"- command: `{results['command']}`",
        f"- {machine['cpu']}; {' '.join(machine['isa_flags'])}; {sizes or 'caches unknown'}",
        f"- {threads}, {place} of {machine['cores']}; {machine['platform']}",
        f"- Python {machine['python']}, {packages}",
        f"- lutkan {machine['lutkan']}, commit {commit[:12]}{' with local changes' if machine['dirty'] else ''}, "
        f"{results['date']}",
        f"- arms interleaved: {plan['rounds']} rounds in random order, best of {plan['blocks']} blocks of "
        f"{1000 * plan['block_seconds']:g} ms each ({plan['clock']})",
    ]
    return "\n".join(lines)


def _arm_row(arm: Measured) -> tuple[str, ...]:
    timing = arm.timing
    low, high = timing.quartiles
    name = arm.name + (f" ({arm.isa})" if arm.isa else "")
    return (
        name,
        f"{timing.rows}*" if arm.reduced else str(timing.rows),
        microseconds(timing.median),
        f"{microseconds(low)} to {microseconds(high)}",
        f"{timing.ns_an_edge:.3g}",
        f"{arm.max_error:.2g}",
        f"{arm.mean_error:.2g}",
        f"{arm.spread:.2g}",
        f"{arm.nbytes:,}",
        "" if arm.file_bytes is None else f"{arm.file_bytes:,}",
    )


def case_markdown(case: Case) -> str:
    """Write a case as a Markdown table, fastest arm an edge first, and below it what was skipped and why."""
    head = (
        "arm",
        "rows",
        "us a call",
        "quartiles",
        "ns an edge",
        "max error",
        "mean error",
        "output spread",
        "bytes in memory",
        "bytes on disk",
    )
    arms = sorted(case.arms, key=lambda arm: arm.timing.ns_an_edge)
    text = markdown_table([head, *(_arm_row(arm) for arm in arms)])
    notes = []
    if any(arm.reduced for arm in case.arms):
        notes.append(f"\\* fewer rows than {case.batch}: a call would exceed 2 s or 4 GB.")
    notes += [f"Skipped: {skipped.name}: {skipped.reason}." for skipped in case.skipped]
    return text + "".join(f"\n\n{line}" for line in notes)
