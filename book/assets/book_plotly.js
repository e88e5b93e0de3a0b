// Draws each .book-plotly when it comes near the screen, once the page has loaded: its first view does not wait for plotly.js (one file, from
// this site). Without this script, and on paper where a figure was never drawn, its table stands open in its place.
(() => {
  "use strict";
  document.documentElement.classList.add("book-live");
  const here = document.currentScript.src.replace(/[^/]*$/, "");
  let loading;
  const library = () => (loading = loading || new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `${here}plotly.min.js`;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { loading = null; reject(new Error("plotly.min.js did not load")); };
    document.head.appendChild(script);
  }));

  const color = (name, otherwise) => getComputedStyle(document.documentElement).getPropertyValue(`--pst-color-${name}`).trim() || otherwise;
  const page = () => ({
    "font.color": color("text-base", "#222832"),
    "hoverlabel.bgcolor": color("surface", "#f3f4f5"),
    "hoverlabel.bordercolor": color("border", "#d1d5da"),
    "hoverlabel.font.color": color("text-base", "#222832"),
  });

  async function draw(box) {
    const figure = JSON.parse(box.querySelector("script[type='application/json']").textContent);
    const frame = box.querySelector(".book-plot"), target = document.createElement("div");
    try {
      const Plotly = await library();
      const layout = { ...figure.layout, autosize: true };
      const { "font.color": ink, "hoverlabel.bgcolor": back, "hoverlabel.bordercolor": border } = page();
      layout.font = { ...layout.font, color: ink };
      layout.hoverlabel = { ...layout.hoverlabel, bgcolor: back, bordercolor: border, font: { color: ink } };
      delete layout.width;
      target.style.height = `${box.dataset.height}px`;
      target.style.minWidth = "0";
      target.setAttribute("role", "img");
      target.setAttribute("aria-label", box.dataset.label);
      frame.appendChild(target);
      await Plotly.newPlot(target, figure.data, layout, { displayModeBar: false, responsive: true, ...figure.config });
      if (figure.frames) await Plotly.addFrames(target, figure.frames);
      box.dataset.drawn = "";
    } catch (error) { // the table instead
      frame.remove();
      box.querySelector(".book-data").open = true;
      console.warn(error);
    }
  }

  const MOVES = ["scroll", "pointermove", "pointerdown", "touchstart", "keydown", "focusin"];
  const ready = new Promise((resolve) => {
    MOVES.forEach((kind) => addEventListener(kind, resolve, { passive: true, once: true }));
    addEventListener("load", () => setTimeout(resolve, 1000));
  });

  function start() {
    const boxes = document.querySelectorAll(".book-plotly");
    if (!boxes.length) return;
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) { watch.unobserve(entry.target); ready.then(() => draw(entry.target)); }
    }, { rootMargin: "600px" });
    for (const box of boxes) {
      box.querySelector(".book-data").open = false;
      box.dataset.live = "";
      watch.observe(box);
    }
    matchMedia("print").addEventListener("change", ({ matches }) => {
      for (const box of boxes) if (!("drawn" in box.dataset)) box.querySelector(".book-data").open = matches;
    });
    new MutationObserver(() => {
      for (const box of document.querySelectorAll(".book-plotly[data-drawn]")) window.Plotly.relayout(box.querySelector(".js-plotly-plot"), page());
    }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
