// Loaded before configurable-http-proxy: which requests reach it.
//
// - Only a WebSocket's handshake (RFC 6455, 4.1: GET, `Upgrade: websocket`, no body) is one to http-proxy-3, which hands on
//   a body's length without the body: both servers would wait for it for ever. Another upgrade that is asked for is not
//   granted, which is any server's right (RFC 9110, 7.8): the answer is an ordinary one.
// - A body is handed on with the header that says where it ends. http-proxy-3 (1.23.3, 2.0.1) takes `Transfer-Encoding` out
//   of a DELETE or OPTIONS and sends the body all the same, so that the next server on the kept connection reads it as
//   somebody's next request (as CVE-2026-29057).
// - A connection to the hub that nobody uses is ended by the proxy, before the hub does it (mlhub/hub/server.py): a request
//   would meet that end.
// - An upload may take its time: node would end each request that takes longer than five minutes.
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const { createRequire } = require('node:module');

// The very module that the proxy uses, wherever it is installed.
const proxies = createRequire(fs.realpathSync(process.argv[1]))('http-proxy-3');

const BODY_WITH_UPGRADE = 'A request that asks for an upgrade of the protocol cannot have a body: send it without Upgrade.\n';

const IDLE_MILLISECONDS = 90_000;

function hasBody({ headers }) {
    return Boolean(headers['transfer-encoding']) || Number(headers['content-length'] || 0) !== 0;
}

// Node has let go of a connection whose request asks for an upgrade; this is how it is answered like any other, once.
function makeResponse(request, socket) {
    const response = new http.ServerResponse(request);
    response.shouldKeepAlive = false;
    socket.on('error', () => socket.destroy());
    // Nobody else reads it any more: a client that leaves before the answer would not be noticed.
    socket.on('end', () => socket.destroy());
    socket.resume();
    response.assignSocket(socket);
    response.once('finish', () => socket.destroySoon());
    return response;
}

function watch(server) {
    const emit = server.emit;
    server.requestTimeout = 0;
    server.emit = function (event, request, target, ...rest) {
        if (event !== 'upgrade') {
            return emit.call(this, event, request, target, ...rest);
        }
        if (hasBody(request)) {
            return makeResponse(request, target).writeHead(400, { 'Content-Type': 'text/plain' }).end(BODY_WITH_UPGRADE);
        }
        if (request.method === 'GET' && request.headers.upgrade.toLowerCase() === 'websocket') {
            return emit.call(this, event, request, target, ...rest);
        }
        delete request.headers.upgrade;
        request.headers.connection = 'close';
        return emit.call(this, 'request', request, makeResponse(request, target));
    };
    return server;
}

for (const protocol of [http, https]) {
    const { Agent, createServer } = protocol;
    protocol.Agent = class extends Agent {
        constructor(options) {
            super({ timeout: IDLE_MILLISECONDS, ...options });
        }
    };
    protocol.createServer = (...words) => watch(createServer(...words));
}

const createProxyServer = proxies.createProxyServer;
proxies.createProxyServer = (options) => {
    const proxy = createProxyServer(options);
    proxy.webPasses = proxy.webPasses.filter((pass) => pass.name !== 'deleteLength');
    return proxy;
};
