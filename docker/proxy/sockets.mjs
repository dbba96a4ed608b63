// Loaded before configurable-http-proxy, which forgets a WebSocket once it is open: it would outlive its route, and whoever
// opened it would keep it when they may not open it any more.
//
// A route that is removed ends its WebSockets. So does one that is made anew with `ends_websockets`: whoever may, opens theirs again.
// While a WebSocket is open its route is in use, whether or not somebody says anything: the proxy itself counts what is sent.
// A handshake that leads nowhere is answered and its connection ended: the proxy would leave it open, and never read it again.
import { ConfigurableProxy } from 'configurable-http-proxy';

const proxy = ConfigurableProxy.prototype;
const { addRoute, removeRoute, handleProxyWs } = proxy;
const open = new Map(); // prefix of the route → sockets
const USE_MS = 2000;
const using = new Set(); // proxies that have had a WebSocket

setInterval(() => {
    for (const proxy of using) for (const prefix of open.keys()) proxy.updateLastActivity(prefix);
}, USE_MS).unref();

function end(prefix) {
    for (const socket of open.get(prefix) ?? []) socket.destroy();
}

proxy.handleProxyWs = async function (request, socket, head) {
    let status = '404 Not Found';
    const match = await this.targetForReq(request).catch(() => void (status = '400 Bad Request')); // such as /%ff
    if (!match) {
        socket.on('error', () => socket.destroy());
        socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
        return;
    }
    if (!socket.destroyed) {
        const { prefix } = match;
        using.add(this);
        if (!open.has(prefix)) open.set(prefix, new Set());
        const sockets = open.get(prefix).add(socket);
        socket.once('close', () => {
            sockets.delete(socket);
            if (!sockets.size && open.get(prefix) === sockets) open.delete(prefix);
        });
    }
    return handleProxyWs.call(this, request, socket, head);
};

proxy.addRoute = async function (path, { ends_websockets: endsWebSockets, ...data }) {
    await addRoute.call(this, path, data);
    if (endsWebSockets) end(this._routes.cleanPath(path));
};

proxy.removeRoute = async function (path) {
    await removeRoute.call(this, path);
    end(this._routes.cleanPath(path));
};
