"""Write the pages of docs/benchmarks from the frozen results, and tell whether they are current.

    python benchmarks/pages.py            # write all pages whose results lie in benchmarks/results
    python benchmarks/pages.py --check    # write nothing; exit 1 if a page differs from its results

Nothing is measured here: a page is a function of its result file alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lutkan.lab.experiment import read_run
from lutkan.lab.pages import PAGES, method_block
from lutkan.lab.pages import page as lab_page
from lutkan.lab.results import markdown_table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
FOLDER = HERE.parent / "docs" / "benchmarks"
METHOD = HERE.parent / "docs" / "explanation" / "method.md"
BEGIN = "<!-- from benchmarks/results/sweep.jsonl, by benchmarks/pages.py -->"
END = "<!-- end -->"


def _accuracy() -> str:
    import accuracy

    return accuracy.page(accuracy.read_results())


def _bounds() -> str:
    import bounds

    return bounds.page(json.loads(bounds.RESULTS.read_text(encoding="utf-8"))["records"])


def _instructions() -> str:
    import instructions

    return instructions.page(json.loads(instructions.RESULTS.read_text(encoding="utf-8")))


def _qat_speed() -> str:
    results = json.loads((RESULTS / "qat_speed.json").read_text(encoding="utf-8"))
    rows: list[tuple[str, ...]] = [("rows a batch", "arm", "ms a batch", "spread", "faster than float", "")]
    for arm in results["arms"]:
        ratio, asked = arm["faster_than_float"], results["asked"]
        verdict = "" if arm["arm"].startswith("efficient-kan") else "met" if ratio >= asked else "**missed**"
        spread = f"{100 * arm['spread']:.0f} %"
        rows.append((str(arm["batch"]), arm["arm"], f"{arm['ms_a_batch']:.2f}", spread, f"{ratio:.2f}x", verdict))
    widths = "-".join(map(str, results["widths"]))
    return "\n\n".join(
        (
            "# Speed of training with few bits",
            "<!-- Written by benchmarks/pages.py from benchmarks/results/qat_speed.json; do not edit this page. -->",
            f"Forward and backward pass of a {widths} network, one thread, arms in turns; with AdamW, the optimizer's "
            f"step too. Asked: {results['asked']:g} times as fast as efficient-kan's own float layers, forward and "
            "backward. With 64 rows a batch, what a batch costs whatever its rows counts most: 452,000 weights are "
            "quantized forward and back, which takes a power for every weight with QIL and a tanh with DSQ, PACT and "
            "DoReFa.",
            markdown_table(rows),
            f"Made by `python benchmarks/qat_speed.py --rounds 21` on {results['machine']['cpu']}.\n",
        )
    )


def _engine(path: Path) -> Callable[[], str]:
    def make() -> str:
        import engine

        return engine.page(*engine.read(path))

    return make


def _lab(name: str) -> Callable[[], str]:
    return lambda: lab_page(read_run(RESULTS / f"{name}.jsonl"))


def _method() -> str:
    """Return the page on method with the figures of the sweep put between its two marks."""
    text, block = METHOD.read_text(encoding="utf-8"), method_block(read_run(RESULTS / "sweep.jsonl"))
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"


def _finished(path: Path) -> bool:
    """Tell whether a result file is there and holds all of its cells: one that is still being written has no page."""
    if not path.is_file():
        return False
    run = read_run(path)
    return len(run.cells) >= run.manifest["cells"]


def pages() -> Iterator[tuple[Path, Callable[[], str]]]:
    """Yield every page whose results are frozen, and what writes its text."""
    for name, make in (
        ("accuracy", _accuracy),
        ("bounds", _bounds),
        ("instructions", _instructions),
        ("qat_speed", _qat_speed),
    ):
        if (RESULTS / f"{name}.json").is_file():
            yield FOLDER / f"{name}.md", make
    for path in sorted(RESULTS.glob("engine-*.json"))[:1]:
        yield FOLDER / "engine.md", _engine(path)
    for name in PAGES:
        if _finished(RESULTS / f"{name}.jsonl"):
            yield FOLDER / f"{name}.md", _lab(name)
    if _finished(RESULTS / "sweep.jsonl"):
        yield METHOD, _method


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check all pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(HERE))
    stale = []
    for path, make in pages():
        text = make()
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.name)
        if not options.check:
            path.write_text(text, encoding="utf-8")
    print("\n".join(f"{'differs' if options.check else 'wrote'}: {name}" for name in stale) or "all pages are current")
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
