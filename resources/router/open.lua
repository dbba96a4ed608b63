-- What is open in this worker: answers on their way, which count as use of their route, and WebSockets, which end with it.
--
-- Whatever is on its way from a port of a workspace (downloads, streams, WebSockets) ends with the token or cookie that opened
-- it as well. Where a route is made anew because somebody may not enter any more, the hub is asked again about each of them:
-- what others have open goes on.
local ffi = require "ffi"
local base = require "resty.core.base"
local questions = require "router.questions"
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
-- So long the hub has to say that something may go on.
local WORD_SECONDS = 2

local answers, connections = {}, {}
local ended, looks, is_due = 0, 0, false

local function find_descriptor()
    local request = ffi.cast("mlhub_request_t *", base.get_request())
    return request.signature == SIGNATURE and request.connection.fd or nil
end

-- End a connection, unless it is over and its descriptor may be somebody else's. Over HTTP/2 it ends with all that its client
-- has under way.
local function finish(opened)
    if connections[opened] then
        opened.is_ending = true
        ffi.C.shutdown(opened.descriptor, BOTH_WAYS)
    end
end

-- Note that an answer of this route has begun; return what ``close`` needs. A ``tool`` is behind the hub's check.
function M.open(prefix, generation, is_socket, tool)
    answers[prefix] = (answers[prefix] or 0) + 1
    local opened = { prefix = prefix, generation = generation, tool = tool }
    opened.descriptor = (is_socket or tool) and find_descriptor() or nil
    if opened.descriptor then
        connections[opened] = true
        -- The route may be another one since the request came: nobody would look at it again.
        is_due = is_due or routes.get(prefix) ~= generation
    end
    return opened
end

-- Note that it is over. nginx has not closed the client's connection by then, so the descriptor is still nobody else's.
function M.close(opened)
    local count = answers[opened.prefix] - 1
    answers[opened.prefix] = count > 0 and count or nil
    connections[opened] = nil
    routes.note_use(opened.prefix)
end

-- Ask the hub again about what the same somebody has open at the same port.
local function ask_again(those, question, generation)
    local status = questions.ask(question)
    local is_refused = status == ngx.HTTP_UNAUTHORIZED or status == ngx.HTTP_FORBIDDEN
    for _, opened in ipairs(those) do
        opened.is_asked = false
        if status == ngx.HTTP_NO_CONTENT then
            opened.generation, opened.asked_since = generation, nil
        elseif is_refused or ngx.now() - opened.asked_since > WORD_SECONDS then
            finish(opened)
        end
    end
    -- There may be no answer yet, or the route be another one again by now.
    is_due = true
end

-- End what has lost its route; return what the hub has to be asked about: a list by question and generation.
local function end_what_has_lost_its_route()
    local asked = {}
    for opened in pairs(connections) do
        local generation = routes.get(opened.prefix)
        if generation ~= opened.generation and not opened.is_ending and not opened.is_asked then
            if generation and opened.tool then
                local said = opened.tool.question
                local key = table.concat({ generation, said.path, said.Cookie, said.Authorization }, "\0")
                asked[key] = asked[key] or { question = said, generation = generation }
                table.insert(asked[key], opened)
                opened.is_asked, opened.asked_since = true, opened.asked_since or ngx.now()
            else
                finish(opened)
            end
        end
    end
    return asked
end

local function end_what_is_overdue()
    for opened in pairs(connections) do
        if opened.tool and opened.tool.ends_at and opened.tool.ends_at <= ngx.now() then
            finish(opened)
        end
    end
end

local function look()
    local now_ended = routes.count_ended()
    if now_ended ~= ended or is_due then
        ended, is_due = now_ended, false
        for _, those in pairs(end_what_has_lost_its_route()) do
            ngx.thread.spawn(ask_again, those, those.question, those.generation)
        end
    end
    looks = looks + 1
    if looks % LOOKS_PER_USE == 0 then
        end_what_is_overdue()
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
