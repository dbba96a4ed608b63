// Loaded before configurable-http-proxy: what a workspace's answer may do.
//
// Hub and workspaces share an origin (without `subdomain_host`), so an answer may say nothing about the origin as a whole,
// nothing to nginx, and sets cookies for its own person's paths alone.
const fs = require('node:fs');
const { createRequire } = require('node:module');

// The very module that the proxy uses, wherever it is installed.
const proxies = createRequire(fs.realpathSync(process.argv[1]))('http-proxy-3');

// Without the first slash, as the proxy looks up its routes.
const PEOPLE = `${(process.env.MLHUB_BASE_URL || '/').slice(1)}user/`;
const HUBS_COOKIES = ['jupyterhub-session-id', 'jupyterhub-hub-login', 'jupyterhub-services'];
// What holds for a whole origin, other pages or browser, whatever the path that it comes from.
const ORIGINS_HEADERS = [
    'alt-svc', // where the origin is served
    'clear-site-data', // signs everybody out
    'cross-origin-opener-policy', // cuts the hub's page off that opened this one
    'cross-origin-opener-policy-report-only',
    'nel', // sends reports about all requests of the origin to an address of one's choice
    'origin-agent-cluster',
    'report-to',
    'sec-session-registration', // as the next was called at first
    'secure-session-registration', // lets a browser hold up all requests of the origin (DBSC)
    'service-worker-allowed', // lets a script answer for pages elsewhere
    'set-login', // tells the browser that its user has signed out of the origin
    'strict-transport-security', // also for all other ports of this host name
];

// Return the name of the person whose workspace answers, or nothing where it is none that answers.
function findPerson(url) {
    // As configurable-http-proxy (targetForReq, trie.js) finds the workspace: what it finds is never anything else here.
    const path = decodeURIComponent(new URL(url, 'http://example.com').pathname).replace(/^\/+/, '');
    if (!path.startsWith(PEOPLE)) {
        return undefined;
    }
    return path.slice(PEOPLE.length).split('/')[0];
}

function isWithin(path, person) {
    try {
        return `${decodeURIComponent(path)}/`.startsWith(`/${PEOPLE}${person}/`);
    } catch {
        return false;
    }
}

// Return the cookie for paths of that person (as a browser reads it: RFC 6265, 5.2), or nothing for one of the hub's.
function keepWithin(cookie, person) {
    const [pair, ...attributes] = cookie.split(';');
    if (HUBS_COOKIES.includes(pair.split('=')[0].trim())) {
        return [];
    }
    const read = (attribute) => attribute.split('=')[0].trim().toLowerCase();
    const paths = attributes.filter((attribute) => read(attribute) === 'path').map((path) => path.slice(path.indexOf('=') + 1).trim());
    const path = paths.length && isWithin(paths.at(-1), person) ? paths.at(-1) : `/${PEOPLE}${encodeURIComponent(person).replaceAll('%40', '@')}/`;
    return [[pair, ...attributes.filter((attribute) => !['path', 'domain'].includes(read(attribute))), ` Path=${path}`].join(';')];
}

function clean(headers, url) {
    const person = findPerson(url);
    if (!person) {
        return;
    }
    for (const name of Object.keys(headers)) {
        if (ORIGINS_HEADERS.includes(name) || name.startsWith('x-accel-')) {
            delete headers[name];
        }
    }
    if (headers['set-cookie']) {
        headers['set-cookie'] = headers['set-cookie'].flatMap((cookie) => keepWithin(cookie, person));
    }
}

const createProxyServer = proxies.createProxyServer;
proxies.createProxyServer = (options) => {
    const proxy = createProxyServer(options);
    proxy.on('proxyRes', (answer, request) => clean(answer.headers, request.url));
    proxy.on('proxyReqWs', (question, request, socket) => {
        // http-proxy-3 goes on waiting for an answer after the client has left. Before that answer a client says nothing
        // more (RFC 6455, 4.1), so what comes is its end.
        const leave = () => {
            question.destroy();
            socket.destroy();
        };
        const ends = ['data', 'end', 'close'];
        ends.forEach((event) => socket.once(event, leave));
        question.on('upgrade', (answer) => {
            ends.forEach((event) => socket.off(event, leave));
            clean(answer.headers, request.url);
        });
        question.on('response', (answer) => {
            clean(answer.headers, request.url);
            answer.headers.connection = 'close';
            // And it keeps in memory what the client does not take.
            answer.on('data', () => {
                if (socket.writableNeedDrain) {
                    answer.pause();
                    socket.once('drain', () => answer.resume());
                }
            });
        });
    });
    return proxy;
};
