// What scripts say, in the language of the page, which brings the texts (mlhub/texts.py). English is the source.
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
