"""The pages of docs/: their code runs, the generated ones are current, their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lutkan

DOCS = Path(__file__).resolve().parents[2] / "docs"
NEEDS = {
    "how-to/import-your-model.md": ("torch", "sklearn"),
    "how-to/report.md": ("matplotlib", "jinja2"),
    "how-to/train-quantized.md": ("torch", "sklearn"),
}
PAGES = sorted(str(page.relative_to(DOCS)) for page in (DOCS / "tutorial.md", *(DOCS / "how-to").glob("*.md")))


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_prints_what_the_page_says(stale, page):
    for module in NEEDS.get(page, ()):
        pytest.importorskip(module, reason=f"needs {module}")
    assert stale(f"docs/{page}") == [], f"run python tools/doc_blocks.py docs/{page}"


def test_all_pages_are_in_the_list_of_the_tool(doc_blocks):
    assert set(doc_blocks.PAGES) == {"README.md", *(f"docs/{page}" for page in PAGES)}


def test_the_command_line_page_is_current(cli_reference):
    assert cli_reference.PAGE.read_text(encoding="utf-8") == cli_reference.page(), "run python tools/cli_reference.py"


def test_the_python_page_names_everything_public():
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    named = set(re.findall(r"lutkan\.([A-Za-z]\w*)$", page, re.MULTILINE))
    assert named == set(lutkan.__all__) - {"__version__"}


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in DOCS.rglob("*.md"):
        if "_build" in page.parts:
            continue
        prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", prose):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(DOCS)}: {target}")
    assert broken == []


# --- the tool itself ---

PAGE = """\
```console
$ echo one 1.5
one 2.5
$ printf 'a\\nb\\n'
b
```

```python
print("x", 3)
```

```text
x 4
```

```sh
false
```
"""


def test_outputs_are_compared_without_numbers_and_in_order(doc_blocks):
    outputs = list(doc_blocks.run_page(PAGE))
    assert [output.where for output in outputs] == ["echo one 1.5", "printf 'a\\nb\\n'", 'print("x", 3)\n']
    assert [doc_blocks.missing_line(output.said, output.printed) for output in outputs] == [None, None, None]
    assert doc_blocks.missing_line("b\na\n", "a\nb\n") == "a"
    assert doc_blocks.missing_line("a 1.5e-3 us\n", "a   2 us\n") is None
    assert doc_blocks.missing_line("a\n", "ab\n") == "a"


def test_a_page_is_rewritten_with_the_real_output(doc_blocks):
    page = doc_blocks.rewritten(PAGE)
    assert "$ echo one 1.5\none 1.5\n$ printf 'a\\nb\\n'\na\nb\n```" in page
    assert "```text\nx 3\n```" in page
    assert page.endswith("```sh\nfalse\n```\n")
    assert doc_blocks.rewritten(page) == page


def test_a_block_that_fails_is_an_error(doc_blocks):
    with pytest.raises(RuntimeError, match="ends with 3"):
        list(doc_blocks.run_page("```console\n$ exit 3\n```\n"))
    with pytest.raises(ZeroDivisionError):
        list(doc_blocks.run_page("```python\n1 / 0\n```\n"))
