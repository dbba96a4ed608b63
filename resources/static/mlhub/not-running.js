// The page of a workspace that is not running: keep the notebook's anchor, start by itself where the hub says so.
"use strict";

const start = document.getElementById("start");
if (start.form) {
  start.form.action += window.location.hash;
} else {
  start.hash = window.location.hash;
}
if (start.dataset.seconds) {
  setTimeout(() => start.click(), 1000 * Number(start.dataset.seconds));
}
window._jupyterhub_page_loaded = true;
