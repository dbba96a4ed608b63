// The pages shown while a workspace starts or stops: follow it, and go on when it is over.
"use strict";

const page = document.getElementById("pending");
const { user: owner, serverName, progressUrl } = page.dataset;
let isFailed = false;

function log(message) {
  const line = document.createElement("li");
  line.textContent = message;
  document.getElementById("progress-log").append(line);
  document.getElementById("progress-message").textContent = message;
}

function fail(heading) {
  isFailed = true;
  page.querySelector("h1").textContent = heading;
  document.getElementById("pending-hint").classList.add("d-none");
  document.getElementById("progress-bar").className = "progress-bar bg-danger";
  document.getElementById("stop-server-btn").classList.add("d-none");
  document.getElementById("retry").classList.remove("d-none");
}

function takeEvent(source, event) {
  if (event.progress !== undefined) {
    document.getElementById("progress-bar").style.width = `${event.progress}%`;
    page.querySelector("[role=progressbar]").setAttribute("aria-valuenow", event.progress);
  }
  // Only ever text: an event may repeat what somebody typed.
  if (event.message) {
    log(event.message);
  }
  if (event.ready || event.failed) {
    source.close();
  }
  if (event.ready) {
    window.location.reload();
  } else if (event.failed) {
    fail("The workspace did not start");
  }
}

/** Reload once the hub says that the server is no longer pending: also where the stream of events breaks off. */
async function followState() {
  for (;;) {
    await hub.pause(2000);
    if (isFailed) {
      return;
    }
    try {
      const state = await hub.readState(owner, serverName);
      if (state !== "spawn" && state !== "stop") {
        if (progressUrl) {
          window.location.reload();
        } else {
          window.location.assign(`${window.jhdata.base_url}home`);
        }
        return;
      }
    } catch {
      // The hub is away for a moment, or the session has ended: what comes next tells.
    }
  }
}

async function cancelStart(button) {
  button.disabled = true;
  button.textContent = "Cancelling…";
  try {
    await hub.call("DELETE", hub.serverPath(owner, serverName));
    window.location.assign(`${window.jhdata.base_url}home`);
  } catch (error) {
    button.disabled = false;
    button.textContent = "Cancel the start";
    log(error.message);
  }
}

if (progressUrl) {
  const source = new EventSource(progressUrl);
  source.onmessage = (message) => takeEvent(source, JSON.parse(message.data));
  const button = document.getElementById("stop-server-btn");
  button.addEventListener("click", () => cancelStart(button));
}
followState();
window._jupyterhub_page_loaded = true;
