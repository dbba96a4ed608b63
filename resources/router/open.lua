-- What is open in this worker: answers on their way, which count as use of their route, and WebSockets, which end with it, or
-- with the token or cookie that opened a port of a workspace.
local ffi = require "ffi"
local base = require "resty.core.base"
local routes = require "router.routes"

local M = {}

-- The heads of nginx's own ngx_http_request_t and ngx_connection_t. nginx knows no way to end somebody else's connection:
-- a socket that is shut down reads as one whose client has left.
ffi.cdef [[
typedef struct { void *data, *read, *write; int fd; } mlhub_connection_t;
typedef struct { uint32_t signature; mlhub_connection_t *connection; } mlhub_request_t;
int shutdown(int fd, int how);
]]
local SIGNATURE = 0x50545448 -- "HTTP", at the head of each request
local BOTH_WAYS = 2
local LOOK_SECONDS = 0.2
local LOOKS_PER_USE = 5

local answers, sockets = {}, {}
local ended, looks = 0, 0

local function find_descriptor()
    local request = ffi.cast("mlhub_request_t *", base.get_request())
    return request.signature == SIGNATURE and request.connection.fd or nil
end

local function end_socket(descriptor)
    ffi.C.shutdown(descriptor, BOTH_WAYS)
end

-- Note that an answer of this route has begun; return what ``close`` needs. ``ends_at`` may be nothing.
function M.open(prefix, generation, is_socket, ends_at)
    answers[prefix] = (answers[prefix] or 0) + 1
    local descriptor = is_socket and find_descriptor() or nil
    if descriptor then
        sockets[descriptor] = { prefix = prefix, generation = generation, ends_at = ends_at }
        -- Removed since the request came: nobody would look at it again.
        if routes.get(prefix) ~= generation then
            end_socket(descriptor)
        end
    end
    return { prefix = prefix, descriptor = descriptor }
end

-- Note that it is over. nginx has not closed the client's connection by then, so the descriptor is still nobody else's.
function M.close(opened)
    local count = answers[opened.prefix] - 1
    answers[opened.prefix] = count > 0 and count or nil
    if opened.descriptor then
        sockets[opened.descriptor] = nil
    end
    routes.note_use(opened.prefix)
end

local function end_sockets(is_over)
    for descriptor, socket in pairs(sockets) do
        if is_over(socket) then
            end_socket(descriptor)
        end
    end
end

local function has_lost_its_route(socket)
    return routes.get(socket.prefix) ~= socket.generation
end

local function is_overdue(socket)
    return socket.ends_at and socket.ends_at <= ngx.now()
end

local function look()
    local now_ended = routes.count_ended()
    if now_ended ~= ended then
        ended = now_ended
        end_sockets(has_lost_its_route)
    end
    looks = looks + 1
    if looks % LOOKS_PER_USE == 0 then
        end_sockets(is_overdue)
        for prefix in pairs(answers) do
            routes.note_use(prefix)
        end
    end
end

local function watch(is_last)
    look()
    -- After a reload a worker stays for its open connections, and starts no timer again.
    while is_last and next(answers) do
        ngx.sleep(LOOK_SECONDS)
        look()
    end
end

function M.start()
    assert(ngx.timer.every(LOOK_SECONDS, watch))
end

return M
