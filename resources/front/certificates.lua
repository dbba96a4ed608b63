-- The certificates that boot found (mlhub/boot/certificates.py), in the memory of each worker. A handshake takes the one for
-- the name that its client asks for, else the first. A new one is read beside the handshakes, so nothing is reloaded for it.
local cjson = require "cjson.safe"
local ffi = require "ffi"
local hello = require "ngx.ssl.clienthello"
local numbers = require "front.numbers"
local ssl = require "ngx.ssl"

local M = {}

local LOOK_SECONDS = 0.25

ffi.cdef [[
int SSL_set_session_id_context(void *ssl, const char *context, unsigned int length);
]]

local file, text, refused
local first, by_name

local function read()
    local handle, problem = io.open(file)
    if not handle then
        return nil, problem
    end
    local found = handle:read("*a")
    handle:close()
    return found
end

local function parse(entry)
    local chain, problem = ssl.parse_pem_cert(entry.chain)
    if not chain then
        return nil, problem
    end
    local key
    key, problem = ssl.parse_pem_priv_key(entry.key)
    return key and { chain = chain, key = key, id = entry.id }, problem
end

-- Take what boot has written since; what cannot be read leaves the former in force.
local function look()
    local found, problem = read()
    if not found or found == text or found == refused then
        return problem
    end
    refused = found
    local entries, names, parsed = cjson.decode(found), {}, {}
    for index, entry in ipairs(entries or {}) do
        parsed[index], problem = parse(entry)
        if not parsed[index] then
            return problem
        end
        for _, name in ipairs(entry.names) do
            names[name] = names[name] or parsed[index]
        end
    end
    if not parsed[1] then
        return "it names no certificate"
    end
    text, first, by_name = found, parsed[1], names
end

local function watch()
    local problem = look()
    if problem then
        ngx.log(ngx.ERR, "the certificates in ", file, " cannot be taken, the former stay in force: ", problem)
    end
end

local function choose(name)
    name = (name or ""):lower()
    return by_name[name] or by_name["*" .. (name:match("%..*") or "")] or first
end

-- Read the certificates before there are workers.
function M.begin(path)
    file = path
    local problem = look()
    if problem then
        error(("the certificates in %s cannot be read: %s"):format(path, problem))
    end
end

function M.start()
    watch()
    assert(ngx.timer.every(LOOK_SECONDS, watch))
end

-- Let a session be resumed only where it began with the certificate that is served now: a resumed one shows none.
function M.greet()
    local id = choose(hello.get_client_hello_server_name()).id
    local pointer = ssl.get_req_ssl_pointer()
    ffi.C.SSL_set_session_id_context(pointer, id, #id)
    numbers.greet(pointer)
end

-- Show the certificate; return whether the handshake may go on.
function M.serve()
    local chosen = choose(ssl.server_name())
    ssl.clear_certs()
    local is_set, problem = ssl.set_cert(chosen.chain)
    if is_set then
        is_set, problem = ssl.set_priv_key(chosen.key)
    end
    if not is_set then
        ngx.log(ngx.ERR, "a certificate is refused: ", problem)
        return ngx.exit(ngx.ERROR)
    end
end

return M
