"""Write docs/reference/config.md: what `import_model(config=)` may hold, from the families' own declarations.

Usage: python tools/config_table.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lutkan.adapters.family import Family
from lutkan.adapters.registry import FAMILIES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "config.md"

HEAD = """\
# What `config=` may hold

<!-- Written by tools/config_table.py from the declarations in src/lutkan/adapters: change those, not this page. -->

`lutkan.import_model(source, config={...})` takes what a checkpoint lacks. The rules:

* A scalar holds for every layer; a list goes layer by layer. A value that is itself a list (`grid`, `grid_range`,
  `minmax`) holds for every layer when it is flat, and goes layer by layer when it is a list of lists.
* `layers`, optional, is a list with one mapping a layer. It may hold every key of the family, `type`, and the
  constructor arguments listed below the table, which are compared with the tensors. What stands both at the top and in
  `layers` has to agree.
* An unknown key, a list of the wrong length and a contradiction are errors. So is an absent value that the table calls
  refused. A default that is taken is shown by `Network.summary()`.
* A live module needs none of it as far as its attributes tell.
"""


def table(family: Family) -> str:
    """Return the section of one family: a table key x meaning x what happens when absent."""
    lines = [f"## {family.name}", ""]
    if family.keys:
        lines += ["| key | what it is | when absent |", "|---|---|---|"]
        for key, text in family.keys.items():
            meaning, _, absent = text.partition("; ")
            lines.append(f"| `{key}` | {meaning} | {absent} |".replace("  |", " |"))
    else:
        lines.append("The tensors tell everything.")
    if family.layer_keys:
        lines += ["", "In `layers` also: " + ", ".join(f"`{key}`" for key in family.layer_keys) + "."]
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *(table(family) for family in sorted(FAMILIES, key=lambda family: family.name))])


def main() -> int:
    """Write the page, or with --check tell whether the committed one is current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is out of date")
    if parser.parse_args().check:
        return int(not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page())
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
