"""Cold start, into the frozen results: `lutkan lab coldstart -o benchmarks/results/coldstart.jsonl`, and its page.

python benchmarks/coldstart.py            on the wall clock, on an idle machine
python benchmarks/coldstart.py --again    from the beginning; further options are those of the command
"""

from __future__ import annotations

import sys
from pathlib import Path

from lutkan.cli import main

if __name__ == "__main__":
    results = Path(__file__).resolve().parent / "results" / "coldstart.jsonl"
    sys.argv[1:] = ["lab", "coldstart", "-o", str(results), *sys.argv[1:]]
    main()
