// Puts live charts where bench.report.hover left drawings; loads Vega only on pages that have a chart.
(() => {
  const library = new URL("vega.js", document.currentScript.src);

  function draw(box) {
    const drawing = box.querySelector("img");
    const live = document.createElement("div");
    box.append(live);
    window
      .vegaEmbed(live, JSON.parse(box.querySelector("script").textContent), { actions: false, renderer: "svg" })
      .then(() => drawing.remove())
      .catch((error) => {
        live.remove(); // the drawing stays
        console.error(error);
      });
  }

  document.addEventListener("DOMContentLoaded", () => {
    const boxes = document.querySelectorAll(".bench-chart");
    if (!boxes.length) return;
    const script = document.createElement("script");
    script.src = library;
    script.onload = () => boxes.forEach(draw);
    document.head.append(script);
  });
})();
