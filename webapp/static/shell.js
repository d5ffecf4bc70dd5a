// Keys, copying, and following a log. Every page can be read and used without it.
"use strict";
(() => {
  const CHORD_MS = 1500;
  const SHOWN_MS = 1500;
  let chordUntil = 0; // until then a key goes somewhere

  // -- keys ------------------------------------------------------------------------------------

  function isTyping(target) {
    return target.closest("input, select, textarea, dialog[open]") !== null;
  }

  function moveBy(step) {
    const rows = [...document.querySelectorAll("[data-row] .open")];
    if (rows.length === 0) return;
    const at = rows.indexOf(document.activeElement);
    const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step));
    rows[next].focus();
    rows[next].closest("[data-row]").scrollIntoView({ block: "nearest" });
  }

  function turnTab(step) {
    const tabs = [...document.querySelectorAll(".tabs a")];
    const at = tabs.findIndex((tab) => tab.hasAttribute("aria-current"));
    tabs[at + step]?.click();
  }

  function go(key) {
    document.querySelector(`.rail [data-go="${CSS.escape(key)}"]`)?.click();
  }

  const KEYS = {
    "/": () => document.getElementById("find")?.focus(),
    "j": () => moveBy(1),
    "k": () => moveBy(-1),
    "[": () => turnTab(-1),
    "]": () => turnTab(1),
    "?": () => document.getElementById("keyboard")?.showModal(),
    "g": () => { chordUntil = Date.now() + CHORD_MS; },
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape" && event.target.id === "find") event.target.blur();
    if (isTyping(event.target)) return;
    if (Date.now() < chordUntil && event.key.length === 1) {
      chordUntil = 0;
      event.preventDefault();
      go(event.key);
      return;
    }
    const act = KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  // -- copying ---------------------------------------------------------------------------------

  async function copy(button) {
    const text = document.getElementById(button.dataset.copy)?.innerText ?? "";
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and copy by hand"; // the browser did not allow it
    }
    window.setTimeout(() => { button.textContent = said; }, SHOWN_MS);
  }

  // -- following a log -------------------------------------------------------------------------

  function isFollowing() {
    return document.querySelector("[data-follow]")?.getAttribute("aria-pressed") === "true";
  }

  function toEnd() {
    const log = document.getElementById("log");
    if (log) log.scrollTop = log.scrollHeight;
  }

  function toggleFollowing(button) {
    button.setAttribute("aria-pressed", String(!isFollowing()));
    if (isFollowing()) toEnd();
  }

  // Whoever scrolls up wants to read: following ends until it is asked for again.
  document.addEventListener("wheel", (event) => {
    const button = document.querySelector("[data-follow]");
    if (event.deltaY < 0 && event.target.closest?.("#log") && isFollowing()) button.setAttribute("aria-pressed", "false");
  }, { passive: true });

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[data-copy], button[data-follow]");
    if (!button) return;
    if (button.dataset.copy) copy(button);
    else toggleFollowing(button);
  });

  // -- what only works with scripts is shown by them -------------------------------------------

  function reveal(part) {
    for (const button of part.querySelectorAll("button[data-copy][hidden], button[data-follow][hidden]")) {
      button.hidden = false;
    }
  }

  reveal(document);
  document.addEventListener("htmx:load", (event) => {
    reveal(event.detail.elt.parentElement ?? document);
    if (isFollowing()) toEnd();
  });
})();
