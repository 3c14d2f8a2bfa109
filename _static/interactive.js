// Tables of bench.report.tables.interactive: sort by header, filter by words and menus, download the shown rows as CSV.
(() => {
  const element = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const key = (row, column) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  const choices = (row, column) => (row.cells[column].dataset.choices ?? row.cells[column].firstChild.textContent).split("|");

  function compare(a, b, sign) {
    const [x, y] = [parseFloat(a), parseFloat(b)];
    if (!isNaN(x) && !isNaN(y)) return sign * (x - y);
    if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1; // numbers first, whichever way is up
    return sign * a.localeCompare(b);
  }

  function sortable(table, rows) {
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      const button = element("button", { type: "button" }, ...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const sign = header.ariaSort === "ascending" ? -1 : 1;
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        rows.sort((a, b) => compare(key(a, column), key(b, column), sign));
        table.tBodies[0].append(...rows);
      });
    });
  }

  function menus(table, rows, name) {
    return [...table.tHead.rows[0].cells].flatMap((header, column) => {
      if (!("menu" in header.dataset)) return [];
      const values = [...new Set(rows.flatMap((row) => choices(row, column)))];
      const select = element("select", { id: `${name}-${column}` }, new Option("all", ""));
      select.append(...values.map((value) => new Option(value)));
      const label = element("label", { htmlFor: select.id }, header.textContent);
      return [{ column, select, box: element("div", {}, label, select) }];
    });
  }

  function download(name, parts) {
    const link = element("a", { href: URL.createObjectURL(new Blob(parts, { type: "text/csv" })), download: `${name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function enhance(box) {
    const { name, title } = box.dataset;
    const table = box.querySelector("table");
    const rows = [...table.tBodies[0].rows];
    const lines = JSON.parse(box.querySelector("script").textContent); // the header, then each row's
    const place = new Map(rows.map((row, i) => [row, i + 1]));
    const words = element("input", { type: "search", id: `${name}-words` });
    const chosen = menus(table, rows, name);
    const count = element("output", { id: `${name}-count` });
    const save = element("button", { type: "button", className: "bench-download" }, "Download as CSV");
    const show = () => {
      const asked = words.value.toLowerCase().split(/\s+/);
      rows.forEach((row) => {
        const text = row.textContent.toLowerCase();
        const fits = ({ column, select }) => !select.value || choices(row, column).includes(select.value);
        row.hidden = !(asked.every((word) => text.includes(word)) && chosen.every(fits));
      });
      count.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
    };
    sortable(table, rows);
    const form = element("form", { className: "bench-filters" });
    form.append(element("div", {}, element("label", { htmlFor: words.id }, "Contains"), words), ...chosen.map((c) => c.box));
    form.append(element("div", {}, element("button", { type: "reset" }, "Show all")), element("div", {}, save), count);
    form.setAttribute("aria-label", `Filter: ${title}`);
    form.addEventListener("input", show);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(show));
    save.addEventListener("click", () => {
      const shown = rows.filter((row) => !row.hidden);
      download(name, [lines[0], ...shown.map((row) => lines[place.get(row)])]);
    });
    box.prepend(form);
    show();
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".bench-interactive").forEach(enhance));
})();
