// The definition of a word, beside its link: on hover, on keyboard focus, on the first tap (the second follows the link).
// It stays while the pointer is over it and goes with Escape (WCAG 1.4.13).
(() => {
  "use strict";
  let link = null, timer = 0, touch = false;
  const tip = () => link && document.getElementById(link.getAttribute("aria-describedby"));
  const termAt = (target) => target instanceof Element && target.closest(".book-term");

  function place() {
    const box = tip(), lines = link.getClientRects(), at = lines[lines.length - 1], gap = 6, edge = 8;
    if (!at || at.bottom < 0 || at.top > innerHeight) return hide();
    const { offsetWidth: width, offsetHeight: height } = box;
    const below = at.bottom + gap, above = at.top - gap - height;
    box.style.left = `${Math.max(edge, Math.min(at.left, document.documentElement.clientWidth - width - edge))}px`;
    box.style.top = `${below + height > innerHeight - edge && above > edge ? above : below}px`;
  }
  function show(next) {
    clearTimeout(timer);
    if (link !== next) hide();
    link = next;
    if (!tip()) { link = null; return; }
    tip().hidden = false;
    place();
  }
  function hide() {
    clearTimeout(timer);
    if (link && tip()) tip().hidden = true;
    link = null;
  }
  const soon = (action, delay) => { clearTimeout(timer); timer = setTimeout(action, delay); };

  function start() {
    const words = document.querySelector(".book-words");
    if (!words) return;
    document.body.append(words); // out of whatever would clip it
    document.addEventListener("pointerover", (event) => {
      if (event.pointerType !== "mouse") return;
      const term = termAt(event.target);
      if (term) soon(() => show(term), 120);
      else if (link && words.contains(event.target)) clearTimeout(timer);
      else if (link && document.activeElement !== link) soon(hide, 250);
      else clearTimeout(timer);
    });
    document.addEventListener("focusin", (event) => {
      const term = termAt(event.target);
      if (term && term.matches(":focus-visible")) show(term);
      else if (!term) hide();
    });
    document.addEventListener("focusout", (event) => { if (event.target === link) soon(hide, 100); });
    document.addEventListener("pointerdown", (event) => {
      touch = event.pointerType !== "mouse";
      if (link && !termAt(event.target) && !words.contains(event.target)) hide();
    });
    document.addEventListener("click", (event) => {
      const term = termAt(event.target);
      if (!term || !touch || term === link) return;
      event.preventDefault();
      show(term);
    });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
    addEventListener("scroll", () => link && place(), { passive: true });
    addEventListener("resize", hide);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
