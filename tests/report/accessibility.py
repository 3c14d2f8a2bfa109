"""What axe, which looks for accessibility violations, finds serious in a page that is open in a browser.

Nearly all of its time goes into the contrast of texts, milliseconds for each, and thousands of cells of tables look
alike.  It is therefore asked for one text of each look; every other rule sees every element.
"""

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

COLOUR = ["color-contrast", "link-in-text-block"]  # all rules on colour that are on unless asked for

# Mark one text of each look: an element, and all that it stands in, as far as styles decide on colours.  What takes
# input stands for itself.
MARK = """() => {
  const decides = ["color", "backgroundColor", "backgroundImage", "backgroundClip", "opacity", "fontSize", "fontWeight",
    "textShadow", "textIndent", "display", "visibility", "overflow", "position", "zIndex", "filter", "mixBlendMode",
    "clip", "clipPath"];
  const beside = ["content", "backgroundColor", "backgroundImage", "position", "width", "height"];
  const styles = (e, names, pseudo) => { const s = getComputedStyle(e, pseudo); return names.map(name => s[name]); };
  const numbers = new Map(), known = new Map(), seen = new Set();
  const look = (e) => {  // a number
    if (!e) return 0;
    if (!known.has(e)) {
      const parts = [look(e.parentElement), e.localName, e.getAttribute("class"), ...styles(e, decides)];
      for (const pseudo of ["::before", "::after"]) parts.push(...styles(e, beside, pseudo));
      const told = parts.join("|");
      if (!numbers.has(told)) numbers.set(told, numbers.size + 1);
      known.set(e, numbers.get(told));
    }
    return known.get(e);
  };
  for (const e of document.body.querySelectorAll("*")) {
    const alone = e.matches("input, select, textarea, button, label, fieldset, [role], [aria-disabled]");
    const text = [...e.childNodes].some(node => node.nodeType == Node.TEXT_NODE && node.nodeValue.trim());
    if (alone || (text && !seen.has(look(e)))) e.setAttribute("data-look", "first");
    if (text) seen.add(look(e));
  }
}"""
RUN = """async (options) => {
  axe.configure({rules: [{id: "color-contrast", selector: "[data-look]"}]});
  const found = (await axe.run(document, {resultTypes: ["violations"], ...options})).violations;
  return found.filter(rule => ["serious", "critical"].includes(rule.impact))
    .map(rule => [rule.id, rule.nodes.slice(0, 5).map(node => node.html.slice(0, 100))]);
}"""


def serious_violations(page: Page, rules: list[str] | None = None) -> list[tuple[str, list[str]]]:
    """Return the rules that a page violates, with the first elements that do; ask for all rules or for some."""
    page.evaluate(AXE_SCRIPT)
    page.evaluate(MARK)
    return page.evaluate(RUN, {"runOnly": rules} if rules else {})
