// Loaded before configurable-http-proxy, for two things that it has no option for.
//
// Let its unix sockets queue more than node's 511 connections: there a full queue is an error at once (EAGAIN, seen by
// people as 502), not a short wait as with TCP. https://nodejs.org/api/net.html#serverlistenoptions-callback
//
// End it when it cannot listen: it would log that as one of its uncaught exceptions, and live on without a port.
const net = require('node:net');

const BACKLOG = 4096;
const WILL_NEVER = 78; // mlhub/errors.py, EXIT_CONFIGURATION: started again, it would only end so again
const MAY_PASS = 1;

function end(error) {
    console.error(`[MLHub] Error: the proxy cannot listen (${error.message}). Correct the addresses and ports in ADDITIONAL_ARGS.`);
    process.exit(error.code === 'EADDRINUSE' ? MAY_PASS : WILL_NEVER);
}

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (first, ...rest) {
    // Once it listens, errors are those of single connections.
    this.once('error', end).once('listening', () => this.removeListener('error', end));
    try {
        return listen.call(this, typeof first === 'string' ? { path: first, backlog: BACKLOG } : first, ...rest);
    } catch (error) {
        return end(error); // no port at all: 99999
    }
};
