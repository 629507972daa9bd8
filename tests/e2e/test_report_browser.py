"""The report in a real browser: nothing is fetched, no error, all plots are there, all text fits, light and dark."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import chromium
import lutkan
from lutkan.cli.app import app
from lutkan.lab import nets
from made_results import CELLS, manifest, write_lines

SIZES = [(width, scheme) for width in (375, 1280) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def browser():
    path = chromium.find()
    if path is None:
        pytest.skip("needs chromium")
    with chromium.Browser(path) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Write a report of every experiment and of four edges, as a user would; return the file and its plots' names."""
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    folder = tmp_path_factory.mktemp("report")
    files = [write_lines(folder / f"{name}.jsonl", [manifest(name), *cells()]) for name, cells in CELLS.items()]
    drawn = nets.efficient_kan((4, 3, 2), 5)
    model, artifact, output = folder / "model.safetensors", folder / "m.lutkan", folder / "report.html"
    save_file(dict(drawn.state), model)
    X = np.random.default_rng(3).uniform(-1, 1, (64, 4))
    lutkan.compile(lutkan.import_model(model), "int8", calibration=X).save(artifact)
    edges = ["--artifact", artifact, "--model", model, "--set", "base_activation=silu", "--edges", "0:0:0,0:3:2,1:1:1"]
    arguments = ["report", *files, *edges, "-o", output, "--json"]
    told = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert told.exit_code == 0
    import json

    return output, json.loads(told.stdout)["plots"]


# Text that a box cuts off or that leaves the window; what lies in a box that scrolls is reached by scrolling.
TEXT_THAT_DOES_NOT_FIT = """
(() => {
  const bad = [], width = document.documentElement.clientWidth;
  for (const element of document.querySelectorAll("h1,h2,h3,h4,p,li,a,dt,dd,caption,figcaption,footer,svg text")) {
    if (element.closest(".wide")) continue;
    const content = document.createRange();
    content.selectNodeContents(element);
    const box = (element.tagName === "text" ? element : content).getBoundingClientRect();
    if (box.width === 0 || box.height === 0) continue;
    let outer = {left: 0, right: width};
    const plot = element.closest("figure > svg");
    if (plot) outer = plot.getBoundingClientRect();
    if (box.left < outer.left - 1 || box.right > outer.right + 1) bad.push(element.textContent.trim().slice(0, 60));
    if (plot && (box.top < outer.top - 1 || box.bottom > outer.bottom + 1)) bad.push(element.textContent.trim());
  }
  for (const cell of document.querySelectorAll("td,th"))
    if (cell.scrollWidth > cell.clientWidth + 1) bad.push("cell " + cell.textContent.trim());
  return bad;
})()
"""
TEXT_OVER_TEXT = """
(() => {
  const bad = [];
  for (const plot of document.querySelectorAll("figure[data-plot] > svg")) {
    const texts = [...plot.querySelectorAll("text")].filter(text => text.textContent.trim());
    const boxes = texts.map(text => text.getBoundingClientRect());
    for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) {
      const wide = Math.min(boxes[i].right, boxes[j].right) - Math.max(boxes[i].left, boxes[j].left);
      const high = Math.min(boxes[i].bottom, boxes[j].bottom) - Math.max(boxes[i].top, boxes[j].top);
      if (wide > 1 && high > 0.3 * Math.min(boxes[i].height, boxes[j].height))
        bad.push(plot.parentElement.dataset.plot + ": " + texts[i].textContent + " / " + texts[j].textContent);
    }
  }
  return bad;
})()
"""
PLOTS = """
[...document.querySelectorAll("figure[data-plot]")].map(figure => {
  const box = figure.querySelector(":scope > svg").getBoundingClientRect();
  const drawn = [...figure.querySelectorAll(":scope > svg path, :scope > svg use")]
    .map(shape => shape.getBoundingClientRect()).filter(shape => shape.width + shape.height > 0).length;
  return [figure.dataset.plot, box.width, box.height, drawn];
})
"""
# Contrast by WCAG 2 of all text against the page. Text on coloured fields has its own colour and is left out.
WEAK_TEXT = """
(() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor), bad = [];
  for (const element of document.querySelectorAll("h1,h2,h3,h4,p,li,a,dt,dd,td,th,caption,figcaption,svg text")) {
    const style = getComputedStyle(element);
    const own = element.tagName === "text";
    if (own && !(element.getAttribute("style") || "").includes("var(--ink)")
            && !(element.getAttribute("style") || "").includes("var(--muted)")) continue;
    const ink = light(own ? style.fill : style.color);
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (contrast < 4.5) bad.push([element.tagName, element.textContent.trim().slice(0, 40), contrast]);
  }
  return bad;
})()
"""
WEAK_SERIES = """
(() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll(".legend path")].map(path => light(getComputedStyle(path).fill))
    .map(ink => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)).filter(contrast => contrast < 3);
})()
"""


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_the_page_is_whole_at_every_width_in_light_and_dark(browser, page, width, scheme):
    path, names = page
    browser.messages.clear()
    browser.requests.clear()
    browser.open(path, width=width, scheme=scheme)
    plots = browser.evaluate(PLOTS)
    assert [name for name, *_ in plots] == names
    assert len(names) > 20
    for name, wide, high, drawn in plots:
        assert wide > 0.8 * min(width, 500) and high > 80, name
        assert drawn > 3, name
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(TEXT_THAT_DOES_NOT_FIT) == []
    assert browser.evaluate(TEXT_OVER_TEXT) == []
    assert browser.evaluate(WEAK_TEXT) == []
    assert browser.evaluate(WEAK_SERIES) == []
    dark = browser.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    assert browser.messages == []
    assert browser.requests == [path.resolve().as_uri()]


def test_print_is_on_white_and_shows_whole_tables(browser, page):
    paper = 688  # A4 between its margins, in pixels
    browser.open(page[0], width=paper, scheme="dark", media="print")
    assert browser.evaluate("document.documentElement.scrollWidth") <= paper
    assert browser.evaluate(TEXT_THAT_DOES_NOT_FIT) == []
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    cut = "[...document.querySelectorAll('.wide')].filter(box => box.scrollHeight > box.clientHeight + 1).length"
    assert browser.evaluate(cut) == 0
    assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.evaluate(WEAK_TEXT) == []
    document = browser.pdf()
    assert document.startswith(b"%PDF") and document.count(b"/Type /Page\n") + document.count(b"/Type /Page ") >= 3


def test_the_checks_see_what_they_look_for(browser, tmp_path):
    svg = '<svg viewBox="0 0 100 100"><text x="90" y="50">outside</text><text x="95" y="50">over</text></svg>'
    path = tmp_path / "bad.html"
    path.write_text(
        f"""<!doctype html><html><body style="background: #fff"><p style="color: #bbb">pale</p>
        <p style="white-space: nowrap">{"wide " * 300}</p><figure data-plot="x">{svg}</figure>
        <script>console.error("said"); undefined_name();</script><img src="absent.png"></body></html>"""
    )
    browser.messages.clear()
    browser.requests.clear()
    browser.open(path, width=375)
    assert len(browser.evaluate(TEXT_THAT_DOES_NOT_FIT)) == 3
    assert browser.evaluate(TEXT_OVER_TEXT) == ["x: over / outside"]
    assert [row[1] for row in browser.evaluate(WEAK_TEXT)] == ["pale"]
    assert browser.evaluate("document.documentElement.scrollWidth") > 375
    assert any("said" in message for message in browser.messages)
    assert any("exception" in message for message in browser.messages)
    assert any(url.endswith("absent.png") for url in browser.requests)
