// What all pages have: what scripts say, in the page's language (mlhub/texts.py; English is the source), and small comforts:
// passwords that can be seen, texts that can be copied. Every page works without them.
"use strict";

const pageTexts = new Map(Object.entries(JSON.parse(document.getElementById("mlhub-texts")?.textContent || "{}")));

/** Translate a text; {name} in it is replaced by a value. */
function translate(text, values = {}) {
  return (pageTexts.get(text) || text).replace(/\{(\w+)\}/g, (whole, name) => (Object.hasOwn(values, name) ? values[name] : whole));
}

/** The state of a workspace, as a badge shows it. */
function nameState(state) {
  return { running: translate("Running"), starting: translate("Starting"), stopping: translate("Stopping"), stopped: translate("Stopped") }[state];
}

function toggleReveal(button) {
  const input = document.getElementById(button.dataset.reveals);
  const isHidden = input.type === "password";
  input.type = isHidden ? "text" : "password";
  button.setAttribute("aria-pressed", String(isHidden));
  button.title = isHidden ? translate("Hide password") : translate("Show password");
  for (const picture of button.querySelectorAll("svg")) {
    picture.classList.toggle("d-none");
  }
}

async function copy(button) {
  const field = document.getElementById(button.dataset.copies);
  try {
    await navigator.clipboard.writeText(field.value);
    button.textContent = translate("Copied");
  } catch {
    // Without HTTPS there is no clipboard for pages: the text is selected, ready for Ctrl+C.
    field.select();
    button.textContent = translate("Press Ctrl+C");
  }
}

for (const button of document.querySelectorAll("button[data-reveals]")) {
  button.addEventListener("click", () => toggleReveal(button));
}

for (const button of document.querySelectorAll("[data-copies]")) {
  button.classList.remove("d-none");
  button.addEventListener("click", () => copy(button));
}

if (!window.isSecureContext) {
  for (const warning of document.querySelectorAll("[data-insecure-warning]")) {
    warning.classList.remove("d-none");
  }
}
