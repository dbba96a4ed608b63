// The page of a workspace that is not running: keep the notebook's anchor, start by itself where the hub says so.
"use strict";

const startLink = document.getElementById("start");
startLink.hash = window.location.hash;
if (startLink.dataset.seconds) {
  setTimeout(() => startLink.click(), 1000 * Number(startLink.dataset.seconds));
}
window._jupyterhub_page_loaded = true;
