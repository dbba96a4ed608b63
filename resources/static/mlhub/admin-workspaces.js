// All workspaces of all people: start, stop, extend, delete, one or many; states change without a reload.
"use strict";

const LOOK_AGAIN_MILLISECONDS = 15000;
const LOOK_SOON_MILLISECONDS = 3000;
const rows = Array.from(document.querySelectorAll(".workspace-row"));
let isActing = 0;

function show(id, sentence) {
  const box = document.getElementById(id);
  box.textContent = sentence;
  box.classList.toggle("d-none", !sentence);
}

/** Begin a sentence with a workspace. */
function begin(row) {
  return row.dataset.title.charAt(0).toUpperCase() + row.dataset.title.slice(1);
}

function setState(row, state) {
  row.dataset.state = state;
  const badge = row.querySelector(".server-state");
  badge.textContent = nameState(state);
  const color = { running: "text-bg-success", stopped: "text-bg-secondary" }[state] || "text-bg-warning";
  badge.className = `badge ${color} server-state`;
  row.querySelector(".server-busy-text").textContent = `${badge.textContent}…`;
}

function pathOf(row) {
  return hub.serverPath(row.dataset.owner, row.dataset.serverName);
}

/** Ask for this very page's rows again, and show what has changed. */
async function refresh() {
  let found;
  try {
    found = await hub.call("GET", `workspaces${window.location.search}`);
  } catch {
    return; // The hub is away for a moment, or the session has ended: the next click tells.
  }
  const byKey = new Map(found.workspaces.map((each) => [`${each.owner}/${each.server}`, each]));
  for (const row of rows) {
    const model = byKey.get(`${row.dataset.owner}/${row.dataset.serverName}`);
    if (!model) {
      continue;
    }
    if (row.dataset.state !== model.state) {
      setState(row, model.state);
    }
    row.querySelector(".server-image").textContent = model.image;
    row.querySelector(".days-to-live").textContent = model.days_to_live === null ? "–" : model.days_to_live === 0 ? translate("expired") : String(model.days_to_live);
    row.querySelector(".owner-totals").textContent = model.owner_uses.join(", ");
  }
}

/** Do something to a row's workspace; return the sentence of what went wrong, "" if nothing did. */
async function act(row, state, action) {
  const before = row.dataset.state;
  isActing += 1;
  setState(row, state);
  try {
    await action();
    return "";
  } catch (error) {
    setState(row, before);
    return `${begin(row)}: ${error.message}`;
  } finally {
    isActing -= 1;
  }
}

async function actAlone(row, state, action) {
  show("page-error", await act(row, state, action));
  await refresh();
}

const actions = {
  start: (row) => actAlone(row, "starting", () => hub.call("POST", pathOf(row))),
  stop: (row) => actAlone(row, "stopping", () => hub.call("DELETE", pathOf(row))),
};

function remove(row) {
  return act(row, "stopping", async () => {
    await hub.call("DELETE", pathOf(row), { remove: true });
    row.querySelector(".choose").checked = false;
    row.hidden = true;
  });
}

function confirmDeletion(row) {
  const dialog = document.getElementById("delete-dialog");
  document.getElementById("delete-name").textContent = row.dataset.title;
  dialog.returnValue = "";
  dialog.onclose = async () => {
    if (dialog.returnValue === "delete") {
      const complaint = await remove(row);
      show("page-error", complaint);
      show("page-notice", complaint ? "" : translate("{what} is deleted. Its data is in the trash.", { what: begin(row) }));
    }
  };
  dialog.showModal();
}

function askForDays(row) {
  const dialog = document.getElementById("extend-dialog");
  const input = document.getElementById("extend-days");
  document.getElementById("extend-name").textContent = row.dataset.title;
  document.getElementById("extend-error").textContent = "";
  document.getElementById("extend-form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      await hub.call("PATCH", `${pathOf(row)}/workspace`, { days_to_live: input.value.trim() });
      dialog.close();
      show("page-notice", translate("{what} is extended.", { what: begin(row) }));
      await refresh();
    } catch (error) {
      document.getElementById("extend-error").textContent = error.message.replace(/^days_to_live=/, "");
      input.focus();
    }
  };
  dialog.showModal();
  input.select();
}

// Many at once: what is going to happen is listed, and has to be typed.

function listChosen() {
  return rows.filter((row) => !row.hidden && row.querySelector(".choose").checked);
}

function countChosen() {
  const chosen = listChosen();
  document.getElementById("chosen-count").textContent = chosen.length;
  document.getElementById("bulk-stop").disabled = chosen.length === 0;
  document.getElementById("bulk-delete").disabled = chosen.length === 0;
}

/** `words` are the button's, the heading's, what is to be typed, and what follows from it. */
function ask(words, chosen, run) {
  const dialog = document.getElementById("bulk-dialog");
  const typed = document.getElementById("bulk-typed");
  document.getElementById("bulk-heading").textContent = words.heading;
  document.getElementById("bulk-what").textContent = words.explanation;
  document.getElementById("bulk-word").textContent = words.typed;
  document.getElementById("bulk-go").textContent = words.button;
  document.getElementById("bulk-error").textContent = "";
  document.getElementById("bulk-list").replaceChildren(
    ...chosen.map((row) => Object.assign(document.createElement("li"), { textContent: row.dataset.title })),
  );
  typed.value = "";
  document.getElementById("bulk-form").onsubmit = (event) => {
    event.preventDefault();
    if (typed.value.trim() !== words.typed) {
      document.getElementById("bulk-error").textContent = translate("This is not “{word}”.", { word: words.typed });
      typed.focus();
      return;
    }
    dialog.close();
    run(chosen);
  };
  dialog.showModal();
  typed.focus();
}

/** One after the other, so that a hub with much to do is not asked for everything at once. */
async function runAll(chosen, done, action) {
  const complaints = [];
  for (const row of chosen) {
    const complaint = await action(row);
    if (complaint) {
      complaints.push(complaint);
    }
  }
  show("page-error", complaints.join(" "));
  show("page-notice", complaints.length < chosen.length ? done(chosen.length - complaints.length) : "");
  document.getElementById("choose-all").checked = false;
  countChosen();
  await refresh();
}

function bulkStop() {
  const chosen = listChosen().filter((row) => ["running", "starting"].includes(row.dataset.state));
  if (chosen.length === 0) {
    show("page-error", translate("None of these runs."));
    return;
  }
  const number = chosen.length;
  const words = {
    button: translate("Stop"),
    heading: number === 1 ? translate("Stop 1 workspace?") : translate("Stop {number} workspaces?", { number }),
    typed: translate("stop {number}", { number }),
    explanation: translate("What runs in them ends; their data is kept."),
  };
  const done = (stopped) => translate("{number} told to stop.", { number: stopped });
  ask(words, chosen, (all) => runAll(all, done, (row) => act(row, "stopping", () => hub.call("DELETE", pathOf(row)))));
}

function bulkDelete() {
  const chosen = listChosen();
  const number = chosen.length;
  const words = {
    button: translate("Delete"),
    heading: number === 1 ? translate("Delete 1 workspace?") : translate("Delete {number} workspaces?", { number }),
    typed: translate("delete {number}", { number }),
    explanation: translate("They are stopped and leave this list; their data moves to the trash. Default workspaces begin anew with their next start."),
  };
  const done = (deleted) => translate("{number} deleted. Their data is in the trash.", { number: deleted });
  ask(words, chosen, (all) => runAll(all, done, remove));
}

async function keepLooking() {
  for (;;) {
    const isPending = rows.some((row) => ["starting", "stopping"].includes(row.dataset.state));
    await hub.pause(isPending ? LOOK_SOON_MILLISECONDS : LOOK_AGAIN_MILLISECONDS);
    if (!isActing && !document.hidden) {
      await refresh();
    }
  }
}

function start() {
  for (const row of rows) {
    row.querySelector(".start-workspace").addEventListener("click", () => actions.start(row));
    row.querySelector(".stop-workspace").addEventListener("click", () => actions.stop(row));
    row.querySelector(".delete-workspace").addEventListener("click", () => confirmDeletion(row));
    row.querySelector(".extend-workspace")?.addEventListener("click", () => askForDays(row));
    row.querySelector(".choose").addEventListener("change", countChosen);
  }
  document.querySelectorAll("[data-closes]").forEach((button) => button.addEventListener("click", () => document.getElementById(button.dataset.closes).close()));
  document.getElementById("choose-all")?.addEventListener("change", (event) => {
    rows.forEach((row) => {
      row.querySelector(".choose").checked = event.target.checked && !row.hidden;
    });
    countChosen();
  });
  document.getElementById("bulk-stop")?.addEventListener("click", bulkStop);
  document.getElementById("bulk-delete")?.addEventListener("click", bulkDelete);
  document.querySelectorAll("time.time-col").forEach(hub.humanise);
  if (rows.length) {
    keepLooking();
  }
  window.addEventListener("pageshow", (event) => event.persisted && window.location.reload());
  window._jupyterhub_page_loaded = true;
}

start();
