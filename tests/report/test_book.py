"""The built book in a real browser, with nothing to load from elsewhere."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml
from accessibility import COLOUR, serious_violations

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1366, "height": 768}
WITH_FIGURE = [name for name in PAGES if "\n  figure:\n" in (ROOT / f"{name}.md").read_text(encoding="utf-8")]
OVERVIEW = "chapters/published_and_reproduced"
MEGABYTE = 1_000_000

# WCAG contrast of every visible text against the nearest opaque background; formulas and code colours included
CONTRAST = """() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return {rgb: m.slice(0, 3), a: m[3] ?? 1}; };
  const line = (v) => v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const lum = (rgb) => { const [r, g, b] = rgb.map(line);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const b = parse(getComputedStyle(e).backgroundColor);
    if (b.a > 0.9) return b.rgb; } return [255, 255, 255]; };
  const low = [];
  const texts = "article :is(p, li, td, th, h1, h2, h3, dt, dd, figcaption, a, pre span)";
  for (const e of document.querySelectorAll(texts)) {
    if (!e.innerText?.trim() || !e.checkVisibility()) continue;
    const [a, b] = [lum(parse(getComputedStyle(e).color).rgb), lum(behind(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push(e.innerText.slice(0, 60));
  }
  return low;
}"""


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """Folder of the book, built strictly."""
    out = tmp_path_factory.mktemp("book")
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    command += ["build", str(ROOT), "-n", "-W", "--keep-going", "--path-output", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    html = out / "_build" / "html"
    assert (html / "index.html").exists(), "no index.html: is jupyter-book below version 2?"
    return html


@pytest.fixture(scope="session")
def site(book):
    """Address of a local server of the book."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def opened(browser, site):
    """Return a context in which a page is open; the page's `troubles` collects what went wrong."""

    @contextmanager
    def _opened(address, **settings):
        context = browser.new_context(**settings)
        page = context.new_page()
        page.troubles = []
        page.on("console", lambda m: page.troubles.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda e: page.troubles.append(f"error: {e}"))
        page.on("requestfailed", lambda r: page.troubles.append(f"failed: {r.url}: {r.failure}"))
        page.on("response", lambda r: page.troubles.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.on("request", lambda r: page.troubles.append(f"elsewhere: {r.url}") if not _local(r.url, site) else None)
        page.goto(address, wait_until="networkidle")
        yield page
        context.close()

    return _opened


@pytest.fixture
def visit(opened, site):
    """Open pages of a test's own, for those that click and type."""
    with ExitStack() as stack:
        yield lambda name, **settings: stack.enter_context(opened(f"{site}{name}.html", **settings))


# Each page is loaded twice, and what is loaded is looked at by all tests that only look.


@pytest.fixture(scope="module", params=PAGES)
def light(request, opened, site):
    """A page from the server, in the light."""
    with opened(f"{site}{request.param}.html", color_scheme="light", viewport=LAPTOP) as page:
        page.name = request.param
        yield page


@pytest.fixture(scope="module", params=PAGES)
def from_file(request, opened, book):
    """A page from its file, without a server, on a phone in the dark."""
    with opened((book / f"{request.param}.html").as_uri(), color_scheme="dark", viewport=PHONE) as page:
        page.troubles_of_loading = [*page.troubles]  # those who look may ask for more than a file may load
        yield page


@pytest.fixture
def phone(from_file):
    """A page on a phone."""
    from_file.set_viewport_size(PHONE)
    return from_file


@pytest.fixture
def dark(from_file):
    """A page in the dark, on a screen that shows all of it."""
    from_file.set_viewport_size(LAPTOP)
    return from_file


def _local(url, site):
    return url.startswith((site, "file:", "data:", "blob:"))


def test_every_page_of_the_contents_is_built(book):
    assert [name for name in PAGES if not (book / f"{name}.html").exists()] == []


def test_page_fits_a_phone(phone):
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    wider = """() => [...document.querySelectorAll("article *")]
      .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest("svg, math"))
      .filter(e => { for (let p = e.parentElement; p.tagName != "ARTICLE"; p = p.parentElement)
        if (["auto", "scroll", "hidden"].includes(getComputedStyle(p).overflowX)) return false; return true; })
      .map(e => e.outerHTML.slice(0, 80))"""
    assert phone.evaluate(wider) == [], "wider than the phone and not in a box that scrolls"


@pytest.mark.parametrize("from_file", ["chapters/few_shot_scgpt", "chapters/masked_pretraining"], indirect=True)
def test_figures_keep_a_readable_size_on_a_phone(phone):
    image = phone.locator("article figure img").first
    assert image.bounding_box()["width"] > min(640, image.evaluate("e => e.naturalWidth")) - 1
    assert image.locator("..").evaluate("e => getComputedStyle(e).overflowX") == "auto"


def test_page_loads_whole_and_only_from_here(light):
    assert light.troubles == []
    assert light.locator("article h1").count() == 1


@pytest.mark.parametrize("name", PAGES)
def test_page_shows_no_warning_of_a_library(name, book):
    shown = re.findall(r"\.py:\d+: \w*Warning[^<]*", (book / f"{name}.html").read_text(encoding="utf-8"))
    assert shown == []


def test_page_is_light(light, book):
    loaded = light.evaluate(
        "() => performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
        ".map(e => e.decodedBodySize)"
    )
    own = (book / f"{light.name}.html").stat().st_size
    assert sum(loaded) > own, "the browser has not counted what it loaded"
    assert sum(loaded) <= 5 * MEGABYTE
    assert own <= MEGABYTE


def test_page_has_no_serious_accessibility_violation(light):
    assert serious_violations(light) == []


def test_page_has_no_serious_accessibility_violation_in_the_dark(dark):
    assert serious_violations(dark, COLOUR) == []  # the page is the same but for its colours


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_pale_cell_in_a_table_of_hundreds_is_a_violation(visit, scheme):
    page = visit(OVERVIEW, color_scheme=scheme)
    cell = page.locator(".bench-interactive[data-name='numbers'] tbody tr:not([hidden])").last.locator("td").last
    cell.evaluate("e => { e.textContent = 'pale'; e.style.color = '#777'; e.style.backgroundColor = '#888'; }")
    [(rule, found)] = serious_violations(page, COLOUR)
    assert rule == "color-contrast" and len(found) == 1 and "pale" in found[0]


def test_text_is_readable(light):
    assert light.evaluate("document.documentElement.dataset.theme") == "light"
    assert light.evaluate(CONTRAST) == []


def test_text_is_readable_in_the_dark(dark):
    assert dark.evaluate("document.documentElement.dataset.theme") == "dark"
    assert dark.evaluate(CONTRAST) == []


def test_first_screen_shows_the_finding_and_the_second_at_the_latest_the_figure(light):
    top = "e => e.getBoundingClientRect().top + scrollY"
    takeaway, figure = (light.locator(f"article {what}").first for what in (".key-takeaways li", "figure"))
    assert not takeaway.count() or takeaway.evaluate(top) <= LAPTOP["height"]
    assert figure.count() or light.name not in WITH_FIGURE
    assert not figure.count() or figure.evaluate(top) <= 2 * LAPTOP["height"]


def test_most_pages_have_a_figure():
    assert len(WITH_FIGURE) > 10


def test_internal_links_lead_somewhere(light, site, book):
    broken = []
    for href in set(light.eval_on_selector_all("a[href]", "links => links.map(link => link.href)")):
        if not href.startswith(site):
            continue
        path, _, anchor = href.removeprefix(site).partition("#")
        target = book / (path.partition("?")[0] or "index.html")
        if not target.is_file() or (anchor and target.suffix == ".html" and f'id="{anchor}"' not in target.read_text()):
            broken.append(href)
    assert broken == []


def test_figures_have_a_size_and_a_text_alternative(light):
    for image in light.locator("article img").all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("e => e.complete && e.naturalWidth > 0 && e.getBoundingClientRect().width > 0")
        alt = (image.get_attribute("alt") or "").strip()
        assert alt and not alt.startswith(("../", "_images/")), f"image without text alternative: {alt or '(none)'}"
    for box in light.locator(".bench-chart").all():
        chart = box.locator("svg")
        chart.wait_for(state="visible", timeout=10_000)
        size = chart.bounding_box()
        assert size["width"] > 0 and size["height"] > 0
        assert (box.locator("[role='graphics-document']").get_attribute("aria-label") or "").strip()
        assert box.locator("img").count() == 0, "the drawing is still there beside the live chart"


def test_charts_show_values_under_the_pointer(light):
    boxes = light.locator(".bench-chart")
    for i in range(boxes.count()):
        marks = boxes.nth(i).locator(":is(.mark-symbol, .mark-rect).role-mark path")
        marks.first.wait_for(state="attached", timeout=10_000)
        marks.first.hover(force=True)
        light.locator("#vg-tooltip-element.visible").wait_for(timeout=5_000)


def test_figures_keep_a_light_ground_in_the_dark(dark):
    for figure in dark.locator("article :is(figure img, .cell_output img, .bench-chart)").all():
        if figure.evaluate("e => !!e.parentElement.closest('.bench-chart')"):
            continue
        assert figure.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"


def test_page_opens_without_a_server(dark):
    assert [trouble for trouble in dark.troubles_of_loading if not trouble.startswith("console: ")] == []


def test_theme_button_switches(visit):
    page = visit(PAGES[1], color_scheme="light")
    root, button = page.locator("html"), page.locator("button.theme-switch-button:visible").first
    for _ in range(3):  # auto, light, dark in turn
        button.click()
        if root.get_attribute("data-mode") == "dark":
            break
    assert root.get_attribute("data-theme") == "dark"
    assert page.evaluate(CONTRAST) == []
    page.reload(wait_until="networkidle")
    assert root.get_attribute("data-theme") == "dark", "the choice was forgotten"


def test_search_finds_a_page_by_its_title(visit):
    title = visit(PAGES[1]).locator("article h1").inner_text().split("#")[0].strip()
    word = max(title.split(), key=len).strip(".,:;?")
    page = visit("search")
    page.goto(f"{page.url}?q={word}", wait_until="networkidle")
    page.locator("#search-results li a").first.wait_for(timeout=10_000)
    assert any(PAGES[1] in link.get_attribute("href") for link in page.locator("#search-results li a").all())
    assert page.troubles == []


def test_search_finds_gene2vec(visit):
    page = visit("search")
    page.goto(f"{page.url}?q=gene2vec", wait_until="networkidle")
    page.locator("#search-results li a").first.wait_for(timeout=10_000)
    found = {link.get_attribute("href").partition("?")[0] for link in page.locator("#search-results li a").all()}
    assert any("scbert_ablations" in href for href in found), found
    assert page.troubles == []


def test_table_of_the_overview_sorts_and_filters(visit):
    table = visit(OVERVIEW).locator(".bench-interactive[data-name='numbers']")
    header, rows = table.get_by_role("columnheader", name="Published"), table.locator("tbody tr:not([hidden])")
    everything = rows.count()
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    lowest = rows.first.inner_text()
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert rows.first.inner_text() != lowest
    table.get_by_label("In the paper").select_option("Table 2")
    assert 0 < rows.count() < everything
    assert table.locator("output").inner_text() == f"{rows.count()} of {everything} rows"


def test_parameters_open_by_link_and_by_key_without_scripts(visit):
    page = visit("chapters/scbert_ablations", java_script_enabled=False)
    parameters, summary = page.locator(".tag_parameters"), page.locator(".bench-folded > summary")
    assert not parameters.is_visible()
    page.goto(f"{page.url}#parameters")
    assert parameters.is_visible()
    summary.press("Enter")
    assert not parameters.is_visible()
    summary.press("Enter")
    assert parameters.is_visible()


def test_search_dialog_opens_from_the_keyboard(visit):
    page = visit(PAGES[0])
    page.keyboard.press("Control+k")
    page.locator("dialog input[type='search']").wait_for(state="visible", timeout=5_000)
    assert page.evaluate("document.activeElement.type") == "search"


def test_tab_reaches_skip_link_search_and_content(visit):
    page = visit(PAGES[0])
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => { const e = document.activeElement, s = getComputedStyle(e);
                return {skip: !!e.closest(".skip-link"), search: e.matches(".search-button, .search-button__button,"
                + " .search-button-field"), content: !!e.closest("main"), seen: e.getBoundingClientRect().height > 0,
                outlined: s.outlineStyle != "none" || s.boxShadow != "none"}; }"""
            )
        )
    assert reached[0]["skip"] and reached[0]["seen"], "the first Tab shows the link that skips to the content"
    assert any(stop["search"] for stop in reached)
    assert any(stop["content"] for stop in reached)
    assert all(stop["outlined"] for stop in reached if stop["search"] or stop["content"]), "focus cannot be seen"
    page.keyboard.press("Control+Home")
    page.locator(".skip-link a").focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("#main-content")
