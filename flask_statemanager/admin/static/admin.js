// What makes the pages more comfortable; all of them work without it.
"use strict";

// Charts say what is pointed at: the element with data-tip, in a box above it.
(() => {
  let tip = null;
  const hide = () => { if (tip) tip.remove(); tip = null; };
  const show = (mark) => {
    hide();
    const figure = mark.closest(".chart");
    const title = mark.querySelector("title");
    if (title) title.remove();  // or the browser would say the same once more
    tip = document.createElement("div");
    tip.className = "tip";
    tip.textContent = mark.dataset.tip;
    figure.append(tip);
    const [over, at] = [figure.getBoundingClientRect(), mark.getBoundingClientRect()];
    const middle = at.left - over.left + at.width / 2 - tip.offsetWidth / 2;
    tip.style.left = `${Math.max(0, Math.min(middle, over.width - tip.offsetWidth))}px`;
    tip.style.top = `${at.top - over.top - tip.offsetHeight - 4}px`;
  };
  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest && event.target.closest(".chart [data-tip]");
    if (mark) show(mark); else hide();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
})();

// A form is sent once, however often its button is pressed.
(() => {
  const waiting = new Set();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented) return;
    if (waiting.has(form)) { event.preventDefault(); return; }
    waiting.add(form);
    form.setAttribute("aria-busy", "true");
  });
  // A page that comes back out of the browser's memory can be used again.
  window.addEventListener("pageshow", () => {
    for (const form of waiting) form.removeAttribute("aria-busy");
    waiting.clear();
  });
})();

// A page of long work fetches itself anew until the work has ended.
(() => {
  function again() {
    const part = document.querySelector("[data-refresh]");
    if (part) { setTimeout(fetchAnew, 1000 * Number(part.dataset.refresh), part); }
  }
  async function fetchAnew(part) {
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      const found = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
      if (found) { document.querySelector("main").replaceChildren(...found.childNodes); }
    } catch { /* the server is away: the next time perhaps */ }
    again();
  }
  again();
})();

// On a narrow screen the navigation is a strip: the page that is open is in view.
(() => {
  const here = document.querySelector(".top nav [aria-current]");
  const strip = here && here.closest("ul");
  if (strip) strip.scrollLeft = here.offsetLeft - (strip.clientWidth - here.offsetWidth) / 2;
})();
