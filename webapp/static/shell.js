// Keys, copying, and following a log. Every page can be read and used without it.
"use strict";
(() => {
  const CHORD_MS = 1500;
  const SHOWN_MS = 1500;
  let chordUntil = 0; // until then a key goes somewhere

  // -- keys ------------------------------------------------------------------------------------

  function isTyping(target) {
    return target.closest("input:not([type=checkbox]), select, textarea, dialog[open]") !== null;
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

  function toggleRow() {
    document.activeElement.closest?.("[data-row]")?.querySelector("input[form=bulk]")?.click();
  }

  const KEYS = {
    "/": () => document.getElementById("find")?.focus(),
    "j": () => moveBy(1),
    "k": () => moveBy(-1),
    "x": toggleRow,
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

  // -- dragging over the histogram chooses a stretch of time --------------------------------------

  const LEAST_PX = 6; // less is a click
  let drag = null; // where it began, and the box that is drawn

  function place(event) {
    const box = drag.svg.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  }

  function draw(event) {
    const width = drag.svg.viewBox.baseVal.width;
    const [left, right] = [drag.from, place(event)].sort((one, other) => one - other);
    drag.box.setAttribute("x", left * width);
    drag.box.setAttribute("width", (right - left) * width);
    return [left, right];
  }

  function choose(left, right) {
    const began = Date.parse(`${drag.svg.dataset.began}Z`);
    const length = Date.parse(`${drag.svg.dataset.ended}Z`) - began;
    const query = new URLSearchParams(location.search);
    for (const key of ["period", "after", "before", "uncounted"]) query.delete(key);
    query.set("from", new Date(began + left * length).toISOString().slice(0, 19));
    query.set("to", new Date(began + right * length + 999).toISOString().slice(0, 19));
    show(`${location.pathname}?${query}`);
  }

  function show(address) {
    window.htmx.ajax("GET", address, { target: "#list", swap: "outerHTML" });
  }

  // The browser makes a click of where the button is let go; that one leads nowhere.
  function swallowClick() {
    const swallow = (event) => {
      event.preventDefault();
      event.stopImmediatePropagation();
    };
    window.addEventListener("click", swallow, { capture: true });
    window.setTimeout(() => window.removeEventListener("click", swallow, { capture: true }), 50);
  }

  // htmx does not see links of a drawing as links.
  document.addEventListener("click", (event) => {
    const bar = event.target.closest?.("#histogram a");
    if (!bar || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(location.pathname + bar.getAttribute("href"));
  });
  document.addEventListener("dragstart", (event) => {
    if (event.target.closest?.("#histogram")) event.preventDefault(); // no link is carried away
  });
  document.addEventListener("pointerdown", (event) => {
    const svg = event.target.closest?.("#histogram");
    if (!svg || event.button !== 0) return;
    const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    box.setAttribute("class", "chosen");
    box.setAttribute("height", "100%");
    svg.append(box);
    drag = { svg, box, from: 0, began: event.clientX };
    drag.from = place(event);
  });
  document.addEventListener("pointermove", (event) => { if (drag) draw(event); });
  document.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const [left, right] = draw(event);
    const isDrag = Math.abs(event.clientX - drag.began) >= LEAST_PX;
    drag.box.remove();
    if (isDrag) {
      swallowClick();
      choose(left, right);
    }
    drag = null;
  });
  document.addEventListener("pointercancel", () => {
    drag?.box.remove();
    drag = null;
  });

  // -- choosing rows ---------------------------------------------------------------------------

  document.addEventListener("change", (event) => {
    const says = event.target.form?.querySelector("[data-bulk-says]");
    if (!says) return;
    says.dataset.bulkSays ||= says.textContent;
    const count = document.querySelectorAll("input[form=bulk]:checked").length;
    says.textContent = count === 0 ? says.dataset.bulkSays : `${count} chosen:`;
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
