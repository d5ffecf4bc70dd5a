// The page of flags: a slider beside each percentage, and one sentence that says who would move by
// what the form holds, asked while it is being filled in. Without this the review says the same.
"use strict";
(() => {
  const WAIT_MS = 250;

  for (const form of document.querySelectorAll("form[data-sentence]")) {
    for (const number of form.querySelectorAll('input[type="number"]')) addSlider(number);
    let timer = 0;
    let asked = 0;
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => say(form, ++asked, () => asked), WAIT_MS);
    });
  }

  function addSlider(number) {
    const slider = document.createElement("input");
    const name = number.name.replace(/^flag-/, "");
    Object.assign(slider, { type: "range", min: number.min, max: number.max, step: number.step });
    slider.value = number.value || "0";
    slider.setAttribute("aria-label", `${name}, slider`);
    slider.addEventListener("input", () => { number.value = slider.value; });
    number.addEventListener("input", () => { slider.value = number.value || "0"; });
    number.parentElement.append(slider);
  }

  async function say(form, mine, newest) {
    const place = form.querySelector('[data-testid="sentence"]');
    const fields = [...new FormData(form)].filter(([name]) => /^(flag|was|unset)-/.test(name));
    let text = "";
    try {
      const answer = await fetch(`${form.dataset.sentence}&${new URLSearchParams(fields)}`);
      text = answer.ok ? await answer.text() : "";
    } catch {
      // The page is being left, or the server is away: no sentence is better than an old one.
    }
    if (mine === newest()) place.textContent = text;
  }
})();
