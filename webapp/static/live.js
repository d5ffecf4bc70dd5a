// Keeps parts of a page fresh while what they show may still change. The page is complete without it:
// htmx asks again where an element carries data-live, the id of the part that is to be refreshed; here
// is when it should not, and how a list takes in what is new without moving under somebody's hand.
"use strict";
(() => {
  const LEAST_MS = 2000;
  const MOST_MS = 30000;
  let quietMs = 0; // grows while the server cannot be reached
  let quietUntil = 0;

  function isBeingUsed(part) {
    const selection = document.getSelection();
    const hasText = selection !== null && !selection.isCollapsed && part.contains(selection.anchorNode);
    const typing = part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
    return hasText || typing || part.querySelector(":active, input:checked, details[open]") !== null;
  }

  function isWaitedFor(asking) {
    if (document.hidden || Date.now() < quietUntil) return false;
    if (asking.id === asking.dataset.live) return true; // it only grows at its end
    const part = document.getElementById(asking.dataset.live);
    return part !== null && !isBeingUsed(part);
  }

  function say(isStale) {
    const stale = document.getElementById("stale");
    if (stale && stale.hidden === isStale) stale.hidden = !isStale;
  }

  function firstRow(part) {
    return part.querySelector("[data-row]")?.dataset.row;
  }

  // Rows that are there are written anew where they stand; the new ones wait for a click.
  function updateInPlace(part, fresh) {
    for (const row of fresh.querySelectorAll("[data-row]")) {
      const old = part.querySelector(`[data-row="${CSS.escape(row.dataset.row)}"]`);
      if (!old || old.contains(document.activeElement)) continue;
      if (old.innerHTML !== row.innerHTML) old.innerHTML = row.innerHTML;
    }
    part.querySelector(".fresh")?.classList.add("is-shown");
  }

  function takeIn(event) {
    const detail = event.detail;
    const part = detail.target;
    if (new URL(detail.xhr.responseURL).pathname === "/login") {
      detail.shouldSwap = false;
      location.reload(); // the session ended: the page itself leads to the login, and back
      return;
    }
    const asking = detail.requestConfig.elt;
    if (!part || !asking.hasAttribute("data-live")) return;
    if (!isWaitedFor(asking)) {
      detail.shouldSwap = false;
      return;
    }
    const before = firstRow(part);
    if (before === undefined || !part.querySelector("tbody:hover, tbody:focus-within")) return;
    const fresh = new DOMParser().parseFromString(detail.serverResponse, "text/html");
    const now = firstRow(fresh);
    if (now !== undefined && now !== before) {
      detail.shouldSwap = false;
      updateInPlace(part, fresh);
    }
  }

  document.addEventListener("htmx:beforeRequest", (event) => {
    const asking = event.detail.elt;
    if (asking.hasAttribute("data-live") && !isWaitedFor(asking)) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", takeIn);
  for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    document.addEventListener(name, (event) => {
      if (!event.detail.requestConfig.elt.hasAttribute("data-live")) {
        location.assign(event.detail.pathInfo.finalRequestPath); // the whole page says what is wrong
        return;
      }
      quietMs = Math.min(MOST_MS, Math.max(LEAST_MS, quietMs * 2));
      quietUntil = Date.now() + quietMs;
      say(true);
    });
  }
  document.addEventListener("htmx:afterOnLoad", (event) => {
    if (!event.detail.successful) return;
    quietMs = 0;
    say(false);
  });
})();
