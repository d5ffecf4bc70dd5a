// Parts of the operators' pages are asked for again and again. When no answer comes, what stands there
// may not be so any more, and that is said; when the session has ended, the page leads to the login.
"use strict";
(() => {
  const TIMEOUT_MS = 8000; // without it a server that hangs would be waited for, for ever
  let seenAt = new Date();

  function say(isStale) {
    const stale = document.getElementById("stale");
    if (!stale || stale.hidden === !isStale) return;
    stale.querySelector("time").textContent = `${seenAt.toISOString().slice(11, 19)} UTC`;
    stale.hidden = !isStale;
  }

  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.timeout = TIMEOUT_MS;
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (new URL(event.detail.xhr.responseURL).pathname !== "/login") return;
    event.detail.shouldSwap = false;
    location.reload();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) seenAt = new Date();
    say(!event.detail.successful);
  });
})();
