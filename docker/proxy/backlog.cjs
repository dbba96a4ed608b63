// Loaded before configurable-http-proxy: let its unix sockets queue more than node's 511 connections.
// On a unix socket a full queue is an error at once (EAGAIN, seen by people as 502), not a short wait as with TCP,
// and the proxy has no option for it. https://nodejs.org/api/net.html#serverlistenoptions-callback
const net = require('node:net');

const BACKLOG = 4096;
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (first, ...rest) {
    return listen.call(this, typeof first === 'string' ? { path: first, backlog: BACKLOG } : first, ...rest);
};
