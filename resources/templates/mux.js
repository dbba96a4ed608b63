// What arrives on the public port, told by its first bytes: SSH, TLS, or plain HTTP.
const SSH = 'SSH-';
const TLS_HANDSHAKE = 0x16;
// How an IPv4 address begins that is written as one of IPv6.
const MAPPED = '00000000000000000000ffff';

function preread(session) {
    // Each event brings all that was read so far, not only what is new.
    session.on('upload', (head, flags) => {
        if (head.charCodeAt(0) !== TLS_HANDSHAKE && head.length < SSH.length && SSH.startsWith(head) && !flags.last) {
            return; // too little to tell yet
        }
        session.off('upload');
        if (head.charCodeAt(0) === TLS_HANDSHAKE) {
            if (!session.variables.mux_tls) {
                session.error(`a TLS connection from ${session.remoteAddress} was closed: SSL_ENABLED is not set, this port speaks http`);
                session.deny();
                return;
            }
            session.variables.mux_kind = 'tls';
        } else {
            session.variables.mux_kind = head.startsWith(SSH) ? 'ssh' : 'http';
        }
        session.done();
    });
}

// Whom a connection is counted for: its address, or of IPv6 the network of 64 bits that one subscriber has.
function network(session) {
    const bytes = session.rawVariables.binary_remote_addr.toString('hex');
    return bytes.length === 32 && !bytes.startsWith(MAPPED) ? bytes.slice(0, 16) : bytes;
}

// An address of 127.0.0.0/8 that stands for this client: sshd counts failures per source (OpenSSH PerSourcePenalties).
function source(session) {
    const address = session.remoteAddress || '';
    let hash = 0x811c9dc5;
    for (let i = 0; i < address.length; i++) {
        hash = Math.imul(hash ^ address.charCodeAt(i), 0x01000193) >>> 0;
    }
    const clients = ngx.shared.clients;
    for (;;) {
        const found = `127.${1 + (hash >>> 24) % 254}.${(hash >>> 16) & 255}.${1 + (hash & 255) % 254}`;
        // Two clients that meet at one address would be punished for each other: the second one takes the next.
        if (!clients || clients.add(found, address) || clients.get(found) === address) {
            return found;
        }
        hash = (hash + 1) >>> 0;
    }
}

// The client behind an address of source(), for the hub.
function readClient(session) {
    session.on('upload', (question, flags) => {
        if (!question.endsWith('\n') && !flags.last) {
            return;
        }
        session.off('upload');
        session.variables.mux_client = ngx.shared.clients.get(question.trim()) || 'unknown';
        session.done();
    });
}

export default { preread, network, source, readClient };
