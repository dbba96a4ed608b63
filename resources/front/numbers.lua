-- What this front does, in numbers for Prometheus. No name of anybody's is among them.
local ffi = require "ffi"

local M = {}

local numbers = ngx.shared.front_numbers
local LOOK_SECONDS = 1
local STALE_SECONDS = 5
-- SSL_CTX_ctrl(3): handshakes that began, that were completed, and, of these, that resumed a session.
local HANDSHAKES = { started = 24, completed = 25, resumed = 27 }

ffi.cdef [[
void *SSL_get_SSL_CTX(const void *ssl);
long SSL_CTX_ctrl(void *context, int command, long number, void *argument);
]]

local folders, keys = {}, {}
local sockets, handshakes, tls = 0, {}, nil

function M.begin(base_url)
    folders = { hub = base_url .. "hub/", workspace = base_url .. "user/" }
    for _, kind in ipairs { "hub", "workspace", "other" } do
        keys[kind] = { none = ("requests %s none"):format(kind) }
        for class = 1, 5 do
            keys[kind][class] = ("requests %s %dxx"):format(kind, class)
        end
    end
end

local function find_kind()
    local path = ngx.var.request_uri or ""
    for kind, folder in pairs(folders) do
        if path:sub(1, #folder) == folder then
            return kind
        end
    end
    return "other"
end

-- Note a request that upgraded its connection to a WebSocket.
function M.open()
    ngx.ctx.is_counted_socket = true
    sockets = sockets + 1
end

-- Count a request that is over.
function M.count()
    if ngx.ctx.is_counted_socket then
        sockets = sockets - 1
    end
    local classes = keys[find_kind()]
    numbers:incr(classes[math.floor(ngx.status / 100)] or classes.none, 1, 0)
end

-- Note a handshake: its server's SSL_CTX counts all of them.
function M.greet(pointer)
    tls = tls or ffi.C.SSL_get_SSL_CTX(pointer)
end

local function publish()
    -- A worker that died says nothing any more, and its number ends.
    numbers:set("sockets " .. ngx.worker.pid(), sockets, STALE_SECONDS)
    for name, command in pairs(tls and HANDSHAKES or {}) do
        local count = tonumber(ffi.C.SSL_CTX_ctrl(tls, command, 0, nil))
        numbers:incr("handshakes " .. name, count - (handshakes[name] or 0), 0)
        handshakes[name] = count
    end
end

local function watch(is_last)
    publish()
    -- After a reload a worker stays for its open connections, and starts no timer again.
    while is_last and sockets > 0 do
        ngx.sleep(LOOK_SECONDS)
        publish()
    end
end

function M.start()
    assert(ngx.timer.every(LOOK_SECONDS, watch))
end

local function add(lines, name, kind, help)
    lines[#lines + 1] = ("# HELP %s %s"):format(name, help)
    lines[#lines + 1] = ("# TYPE %s %s"):format(name, kind)
end

local function list_requests(lines)
    add(lines, "mlhub_front_requests_total", "counter", "Requests that ended, by where they led and by class of their status.")
    for _, key in ipairs(numbers:get_keys(0)) do
        local kind, class = key:match("^requests (%S+) (%S+)$")
        if kind then
            lines[#lines + 1] = ('mlhub_front_requests_total{kind="%s",status="%s"} %d')
                :format(kind, class, numbers:get(key))
        end
    end
end

local function list_connections(lines)
    add(lines, "mlhub_front_connections", "gauge", "Open connections of clients, SSH among them, by what they do.")
    for _, state in ipairs { "reading", "writing", "waiting" } do
        lines[#lines + 1] = ('mlhub_front_connections{state="%s"} %d')
            :format(state, ngx.var["connections_" .. state] or 0)
    end
    add(lines, "mlhub_front_open_connections", "gauge", "Open connections of clients, SSH among them.")
    lines[#lines + 1] = ("mlhub_front_open_connections %d"):format(ngx.var.connections_active or 0)
    local open = 0
    for _, key in ipairs(numbers:get_keys(0)) do
        open = open + (key:find("^sockets ") and numbers:get(key) or 0)
    end
    add(lines, "mlhub_front_open_websockets", "gauge", "Open WebSockets.")
    lines[#lines + 1] = ("mlhub_front_open_websockets %d"):format(open)
end

local function list_handshakes(lines)
    for name in pairs(HANDSHAKES) do
        local metric = ("mlhub_front_tls_handshakes_%s_total"):format(name)
        add(lines, metric, "counter", ("TLS handshakes that were %s."):format(name))
        lines[#lines + 1] = ("%s %d"):format(metric, numbers:get("handshakes " .. name) or 0)
    end
end

-- Answer in Prometheus's text format.
function M.answer()
    local lines = {}
    list_requests(lines)
    list_connections(lines)
    list_handshakes(lines)
    ngx.header["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
    ngx.print(table.concat(lines, "\n"), "\n")
    return true
end

return M
