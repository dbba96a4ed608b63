// The pages shown while a workspace starts or stops: follow it, and go on when it is over.
"use strict";

const page = document.getElementById("pending");
const { user: owner, serverName, progressUrl } = page.dataset;
let isFailed = false;
let isCancelling = false;

/** A message without its numbers: "12 of 80 MB" and "13 of 80 MB" are one line that changes. */
function stem(message) {
  return message.replace(/[\d.,]+ ?[kMGT]?B?/g, "#");
}

/** Write 75 seconds as "1:15". */
function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

function log(message, seconds) {
  const lines = document.getElementById("progress-log");
  let line = lines.lastElementChild;
  if (!line || stem(line.dataset.message) !== stem(message)) {
    line = lines.appendChild(document.createElement("li"));
    document.getElementById("progress-status").textContent = message;
    // When the step began; its own line may change until the next one begins.
    line.dataset.time = seconds === undefined ? "" : clock(seconds);
  }
  line.dataset.message = message;
  line.textContent = message;
  document.getElementById("progress-message").textContent = message;
}

function showPercent(percent) {
  document.getElementById("progress-bar").style.width = `${percent}%`;
  document.getElementById("progress-percent").textContent = `${percent} %`;
  page.querySelector("[role=progressbar]").setAttribute("aria-valuenow", percent);
}

/** Show why it failed: one sentence, and below it what the workspace wrote last. */
function fail(message) {
  isFailed = true;
  const [sentence, ...lines] = message.replace(/^Spawn failed: /, "").replace(/ \(Rule: [^)]*\)\.?/g, "").split("\n");
  document.title = translate("The workspace did not start");
  page.querySelector("h1").textContent = document.title;
  document.getElementById("failure").classList.remove("d-none");
  document.getElementById("failure-message").textContent = sentence;
  const output = document.getElementById("failure-log");
  output.textContent = lines.join("\n");
  output.classList.toggle("d-none", lines.length === 0);
  document.getElementById("progress-message").textContent = "";
  document.getElementById("pending-hint").classList.add("d-none");
  document.getElementById("progress-bar").className = "progress-bar bg-danger";
  document.getElementById("stop-server-btn").classList.add("d-none");
  document.getElementById("retry").classList.remove("d-none");
  document.getElementById("same-again").classList.remove("d-none");
}

function takeEvent(source, event) {
  // Whoever cancels is told how that went, by the page that follows.
  if (isCancelling) {
    return;
  }
  if (event.ready || event.failed) {
    source.close();
  }
  // Only ever text: an event may repeat what somebody typed.
  if (event.failed) {
    fail(event.message || translate("The hub's log tells why."));
    return;
  }
  if (event.progress !== undefined) {
    showPercent(event.progress);
  }
  if (event.message) {
    // JupyterHub's own first event, which has no time.
    const isFirst = event.message === "Server requested";
    log(isFirst ? translate("Start requested") : event.message, isFirst ? 0 : event.seconds);
  }
  if (event.ready) {
    window.location.reload();
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
      if (!isCancelling && state !== "spawn" && state !== "stop") {
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

async function cancelStart(source, button) {
  isCancelling = true;
  source.close(); // or it would ask again for a start that is over
  button.disabled = true;
  button.textContent = translate("Cancelling…");
  try {
    await hub.call("DELETE", hub.serverPath(owner, serverName));
    window.location.assign(`${window.jhdata.base_url}home`);
  } catch (error) {
    isCancelling = false;
    button.disabled = false;
    button.textContent = translate("Cancel the start");
    log(error.message);
    listen(button);
  }
}

function listen(button) {
  const source = new EventSource(progressUrl);
  source.onmessage = (message) => takeEvent(source, JSON.parse(message.data));
  button.onclick = () => cancelStart(source, button);
}

if (progressUrl) {
  listen(document.getElementById("stop-server-btn"));
}
followState();
window._jupyterhub_page_loaded = true;
