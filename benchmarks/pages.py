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
from lutkan.lab.pages import PAGES
from lutkan.lab.pages import page as lab_page

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
FOLDER = HERE.parent / "docs" / "benchmarks"


def _accuracy() -> str:
    import accuracy

    return accuracy.page(accuracy.read_results())


def _bounds() -> str:
    import bounds

    return bounds.page(json.loads(bounds.RESULTS.read_text(encoding="utf-8"))["records"])


def _engine(path: Path) -> Callable[[], str]:
    def make() -> str:
        import engine

        return engine.page(*engine.read(path))

    return make


def _lab(name: str) -> Callable[[], str]:
    return lambda: lab_page(read_run(RESULTS / f"{name}.jsonl"))


def pages() -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the name of every page whose results are frozen, and what writes its text."""
    for name, make in (("accuracy", _accuracy), ("bounds", _bounds)):
        if (RESULTS / f"{name}.json").is_file():
            yield name, make
    for path in sorted(RESULTS.glob("engine-*.json"))[:1]:
        yield "engine", _engine(path)
    for name in PAGES:
        if (RESULTS / f"{name}.jsonl").is_file():
            yield name, _lab(name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check all pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(HERE))
    stale = []
    for name, make in pages():
        target, text = FOLDER / f"{name}.md", make()
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not options.check:
            target.write_text(text, encoding="utf-8")
    print("\n".join(f"{'differs' if options.check else 'wrote'}: {name}" for name in stale) or "all pages are current")
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
