// What one workspace takes now and took in the last hour: mlhub/workspaces/use_api.py
"use strict";

(() => {
  const section = document.getElementById("use");
  if (!section) {
    return;
  }
  const LOOK_MS = 5000;
  const HOUR = 3600;
  const WIDTH = 600;
  const HEIGHT = 120;
  const path = `${hub.serverPath(section.dataset.owner, section.dataset.server)}/workspace/use`;

  const size = (bytes) => (bytes < 2 ** 30 ? `${Math.round(bytes / 2 ** 20)} MB` : `${(bytes / 2 ** 30).toFixed(1)} GB`);
  const cores = (number) => {
    const shown = { number: number.toFixed(2) };
    return number === 1 ? translate("{number} core", shown) : translate("{number} cores", shown);
  };
  /** Say what is taken, and of how much where there is a limit. */
  const ofAll = (taken, all) => (all ? translate("{taken} of {all}", { taken, all }) : taken);

  /** Draw a line over the last hour; the upper edge is the limit, or the most that there was. */
  function draw(name, points, index, limit) {
    const svg = section.querySelector(`[data-plot="${name}"] svg`);
    const known = points.filter((point) => point[index] !== null);
    const top = limit || Math.max(...known.map((point) => point[index])) || 1;
    const now = Date.now() / 1000;
    const places = known.map((point) => {
      const x = Math.max(0, WIDTH * (1 - (now - point[0]) / HOUR));
      const y = HEIGHT * (1 - Math.min(1, point[index] / top));
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
    svg.querySelector("polyline").setAttribute("points", places.join(" "));
    return known.length ? known[known.length - 1][index] : null;
  }

  function show(name, text) {
    const line = section.querySelector(`[data-plot="${name}"] [data-now]`);
    line.textContent = text;
  }

  function showPorts(ports) {
    const list = document.getElementById("ports");
    list.replaceChildren(
      ...ports.map(({ name, port, answers }) => {
        const item = document.createElement("li");
        item.textContent = answers ? translate("{name}: {port} answers", { name, port }) : translate("{name}: {port} does not answer", { name, port });
        item.classList.toggle("text-body-secondary", !answers);
        return item;
      }),
    );
    document.getElementById("ports-part").classList.toggle("d-none", !ports.length);
  }

  async function look() {
    const found = await hub.call("GET", path);
    const hasPoints = found.points.length > 0;
    document.getElementById("plots").classList.toggle("d-none", !hasPoints);
    if (hasPoints) {
      const cpu = draw("cpu", found.points, 1, found.cpu_limit);
      show("cpu", cpu === null ? "…" : ofAll(cores(cpu), found.cpu_limit));
      const memory = draw("memory", found.points, 2, found.memory_limit);
      show("memory", ofAll(size(memory), found.memory_limit && size(found.memory_limit)));
    }
    const disk = document.getElementById("use-disk");
    disk.textContent = found.owner_disk === null ? "" : translate("Disk of all workspaces of {owner}: {size}.", { owner: section.dataset.owner, size: size(found.owner_disk) });
    showPorts(found.ports);
    section.classList.toggle("d-none", !hasPoints && !found.ports.length);
  }

  async function keepLooking() {
    for (;;) {
      if (!document.hidden) {
        try {
          await look();
        } catch (error) {
          if (error.status === 403 || error.status === 404) {
            return; // signed out, or deleted
          }
        }
      }
      await hub.pause(LOOK_MS);
    }
  }
  keepLooking();
})();
