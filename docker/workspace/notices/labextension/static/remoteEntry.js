// Tells in JupyterLab that this workspace expires or is stopped soon (what mlhub_notices.py asks the hub for), and what it takes.
//
// A prebuilt extension, written by hand and so without a build: JupyterLab asks for a module federation container
// (https://jupyterlab.readthedocs.io/en/stable/extension/extension_dev.html), which is an object with two functions.
(() => {
  "use strict";
  const EVERY_MS = 60_000;
  const LOOK_MS = 5_000;
  let shared = {};

  // One of JupyterLab's own packages, as it runs here.
  const load = async (name) => {
    const [offered] = Object.values(shared[name]);
    return (await offered.get())();
  };

  const begin = async (settings) => {
    const { Notification } = await load("@jupyterlab/apputils");
    const { ServerConnection } = await load("@jupyterlab/services");
    const told = new Set();

    const look = async () => {
      const answer = await ServerConnection.makeRequest(`${settings.baseUrl}mlhub/notices`, {}, settings);
      if (!answer.ok) return;
      const { hub, notices } = await answer.json();
      for (const { id, text, label, path } of notices.filter((notice) => !told.has(notice.id))) {
        told.add(id);
        const open = () => window.open(`${hub}${path}`, "_blank", "noopener");
        Notification.warning(text, { autoClose: false, actions: [{ label, callback: open }] });
      }
    };
    // A server that is away for a moment is asked again.
    const lookQuietly = () => look().catch(() => undefined);
    await lookQuietly();
    setInterval(lookQuietly, EVERY_MS);
  };

  const plugin = {
    id: "mlhub-notices:plugin",
    description: "Tells when this workspace ends.",
    autoStart: true,
    // Notifications that come earlier are not shown. It waits for all plugins, this one too, so none awaits it.
    activate: (app) => { app.restored.then(() => begin(app.serviceManager.serverSettings)); },
  };
  // CPU and memory in the status bar, as long as somebody looks.
  const makeMeter = (IStatusBar, Widget) => ({
    id: "mlhub-notices:meter",
    description: "Shows what this workspace takes.",
    autoStart: true,
    optional: [IStatusBar],
    activate: (app, statusBar) => {
      if (!statusBar) return;
      const settings = app.serviceManager.serverSettings;
      const item = new Widget();
      item.addClass("mlhub-meter");
      item.node.title = "What this workspace takes, of what it has";
      statusBar.registerStatusItem("mlhub-notices:meter", { item, align: "right", rank: 200 });
      const gigabytes = (bytes) => (bytes / 2 ** 30).toFixed(1);
      const look = async () => {
        if (document.hidden) return;
        const { ServerConnection } = await load("@jupyterlab/services");
        const answer = await ServerConnection.makeRequest(`${settings.baseUrl}mlhub/use`, {}, settings);
        if (!answer.ok) return;
        const { cpu, cpu_limit, memory, memory_limit } = await answer.json();
        const parts = [];
        if (cpu !== null) parts.push(`CPU ${cpu.toFixed(1)}${cpu_limit ? ` of ${cpu_limit}` : ""}`);
        if (memory !== null) parts.push(`Memory ${gigabytes(memory)}${memory_limit ? ` of ${gigabytes(memory_limit)}` : ""} GB`);
        item.node.textContent = parts.join(" · ");
      };
      const lookQuietly = () => look().catch(() => undefined);
      app.restored.then(() => {
        lookQuietly();
        setInterval(lookQuietly, LOOK_MS);
      });
    },
  });

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["mlhub-notices"] = {
    init: (scope) => { shared = scope; },
    get: async () => {
      const { IStatusBar } = await load("@jupyterlab/statusbar");
      const { Widget } = await load("@lumino/widgets");
      return () => ({ __esModule: true, default: [plugin, makeMeter(IStatusBar, Widget)] });
    },
  };
})();
