// Keeps a part of a page fresh while what it shows may still change. The page is complete without it.
"use strict";
(() => {
  const LEAST_MS = 1000;
  const MOST_MS = 30000;

  function isBeingUsed(part) {
    const selection = document.getSelection();
    const hasText = selection !== null && !selection.isCollapsed && part.contains(selection.anchorNode);
    return document.hidden || hasText || part.querySelector(":active") !== null;
  }

  function replace(part, fresh) {
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    const scrolled = [...part.querySelectorAll("[tabindex='0']")].map((box) => box.scrollTop);
    part.replaceWith(fresh);
    [...fresh.querySelectorAll("[tabindex='0']")].forEach((box, i) => { box.scrollTop = scrolled[i] || 0; });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }

  async function refresh(id, pause) {
    const part = document.getElementById(id);
    if (!part || !part.dataset.live) return; // its state is final
    let next = Math.max(LEAST_MS, Number(part.dataset.live));
    if (!isBeingUsed(part)) {
      try {
        const answer = await fetch(location.href, { headers: { accept: "text/html" } });
        const text = answer.ok && !answer.redirected ? await answer.text() : "";
        const fresh = new DOMParser().parseFromString(text, "text/html").getElementById(id);
        if (fresh && !isBeingUsed(part)) {
          if (fresh.outerHTML !== part.outerHTML) replace(part, fresh);
        } else {
          next = Math.min(MOST_MS, pause * 2);
        }
      } catch (error) {
        next = Math.min(MOST_MS, pause * 2); // the server cannot be reached: ask less often
      }
    }
    window.setTimeout(refresh, next, id, next);
  }

  for (const part of document.querySelectorAll("[data-live]")) {
    const first = Number(part.dataset.live);
    window.setTimeout(refresh, first, part.id, first);
  }
})();
