-- Ports of workspaces: /user/<name>[/<server>]/tools/<port>/… leads to that port of a workspace that runs, where the hub has
-- said that whoever asks may enter the workspace (mlhub/tools). The hub's word is kept for a few seconds, and no longer than
-- the route is what it was: what ends a workspace's WebSockets ends it too.
--
-- Which workspace, and at which address, the routes tell; of the client's own path only the port's number is taken. The way
-- there is the hub's word as well: what listens on 127.0.0.1 alone is reached through the relay beside the workspace's sshd.
local cjson = require "cjson.safe"
local cookies = require "router.cookies"
local front = require "router.front"
local paths = require "router.paths"
local routes = require "router.routes"
local site = require "router.site"
local targets = require "router.targets"
local text = require "router.text"

local M = {}

local words = ngx.shared.router_tools -- a digest of route and credentials → what the hub said
local WORD_SECONDS = 5
local RELAY_PORT = 2223 -- mlhub/ssh/relay.py
local FOR_EVER = "-"

-- Read the part of a path below its workspace's route; nothing where it names no port.
local function read(rest)
    local form, port, after = rest:match("^/tools/(absolute/)([1-9]%d*)(.*)$")
    if not form then
        form, port, after = "", rest:match("^/tools/([1-9]%d*)(.*)$")
    end
    if port and #port <= 5 and tonumber(port) <= 65535 and (after == "" or after:sub(1, 1) == "/") then
        return { is_absolute = form ~= "", port = tonumber(port), place = "/tools/" .. form .. port }
    end
end

-- Take from the client's headers what may be the hub's.
local function read_credentials()
    local authorization = ngx.var.http_authorization or ""
    local scheme = (authorization:match("^%s*(%a+)%s") or ""):lower()
    local is_token = scheme == "token" or scheme == "bearer"
    return cookies.find_ours(ngx.var.http_cookie), is_token and authorization or ""
end

-- Return prefix, generation and target of the request's route, the path that it is for, and what its owner said of it.
local function find_workspace()
    local prefix, generation, url = front.find_route()
    if not prefix or prefix == "/" then
        return
    end
    local path = site.host_routing and prefix:match("^/[^/]*(/.*)$") or prefix
    local said = path and ngx.var.uri:sub(1, #path) == path and routes.read_members(prefix)
    if said and type(said.user) == "string" then
        -- A workspace that is behind the check as a whole is led to by what is said alone.
        local whole = type(said.web) == "table" and type(said.web.target) == "string" and said.web or nil
        return { prefix = prefix, generation = generation, url = whole and whole.target or url, path = path }, said, whole
    end
end

-- Have the hub asked about a request.
local function prepare(tool, said, port)
    local var = ngx.var
    local cookie, authorization = read_credentials()
    var.tool_cookie, var.tool_authorization, var.tool_front = cookie, authorization, site.token
    local path = ("%shub/api/mlhub/tools?user=%s&server=%s%s"):format(
        site.base_url, text.encode(said.user), text.encode(said.server_name or ""), port and "&port=" .. port or "")
    -- Until it is led on, what nginx sends is the question.
    var.router_url = front.make_url(targets.read(site.default_target)) .. path
    -- The same is asked again while the answer lasts (resources/router/open.lua).
    tool.question = { path = path, Cookie = cookie, Authorization = authorization }
    var.tool_key = ngx.sha1_bin(table.concat({ tool.prefix, tool.generation, port or "", cookie, authorization }, "\0"))
    ngx.ctx.tool = tool
end

-- Find out, before anything else, whether a request is for a port of a workspace.
function M.begin()
    local tool, said = find_workspace()
    local found = tool and said.tools == true and read(ngx.var.uri:sub(#tool.path + 1))
    if found then
        tool.place, tool.port, tool.is_absolute = found.place, found.port, found.is_absolute
        ngx.var.tool_page = "tool"
        prepare(tool, said, tool.port)
    end
end

-- The same of a request for a workspace that is behind the check as a whole.
function M.begin_whole()
    local tool, said, whole = find_workspace()
    if not whole then
        return ngx.exit(ngx.HTTP_NOT_FOUND)
    end
    tool.place, tool.is_absolute = "", whole.absolute == true
    ngx.var.tool_page = "503"
    prepare(tool, said)
end

-- Ask the hub, in a request of its own, unless it has just been asked the same.
function M.ask()
    local var = ngx.var
    if var.tool_key == "" then
        return ngx.exit(ngx.HTTP_NO_CONTENT) -- no port: led on as ever
    end
    local word = words:get(var.tool_key)
    if word then
        ngx.header["X-MLHub-Word"] = word
        return ngx.exit(ngx.HTTP_NO_CONTENT)
    end
    if var.tool_cookie == "" and var.tool_authorization == "" then
        return ngx.exit(ngx.HTTP_UNAUTHORIZED)
    end
    ngx.ctx.target = targets.read(site.default_target)
end

-- Keep what the hub has just said: how somebody is known, their name, when that ends by the clock here, the way to the port.
function M.note()
    local word = ngx.header["X-MLHub-Word"]
    if not ngx.ctx.target or ngx.status ~= ngx.HTTP_NO_CONTENT or type(word) ~= "string" then
        return
    end
    local known, seconds, way = word:match("^(%a+ %S+) (%S+) (%S+)$")
    local left = tonumber(seconds)
    if not known or not (left or seconds == FOR_EVER) then
        ngx.header["X-MLHub-Word"] = nil
        return
    end
    word = ("%s %s %s"):format(known, left and ngx.now() + left or FOR_EVER, way)
    ngx.header["X-MLHub-Word"] = word
    -- What is being started is asked for again soon.
    local kept = math.min(way:find("^starting:") and 1 or WORD_SECONDS, left or WORD_SECONDS)
    if kept > 0 then
        words:set(ngx.var.tool_key, word, kept)
    end
end

-- A cookie comes along whoever's page asks. Pages of other sites may lead here, and nothing else.
local function is_from_elsewhere()
    local var = ngx.var
    local from = var.http_sec_fetch_site
    if (from == "cross-site" or from == "same-site") and var.http_sec_fetch_mode ~= "navigate" then
        return true
    end
    local method, origin = ngx.req.get_method(), var.http_origin
    local is_look = (method == "GET" or method == "HEAD") and var.upgrade == ""
    if is_look or not origin then
        return false
    end
    return (origin:match("^https?://(.+)$") or ""):lower() ~= (var.forwarded_host or ""):lower()
end

-- Return the client's address of the tool, and what follows it; nothing where the client's spelling is another one than that
-- by which the route was chosen.
local function cut(tool, address)
    local path, query = address:match("^([^?]*)(.*)$")
    local _, parts = (tool.path .. tool.place):gsub("/", "")
    local position = 1
    for _ = 1, parts do
        position = path:find("/", position + 1, true) or #path + 1
    end
    local head = path:sub(1, position - 1)
    if text.decode(head) ~= tool.path .. tool.place then
        return nil
    end
    return head, path:sub(position), query
end

local function set_headers(tool, kind, name)
    local set = ngx.req.set_header
    set("Cookie", cookies.leave_out_the_hubs(ngx.var.http_cookie))
    if kind ~= "cookie" then
        set("Authorization", nil)
    end
    set("X-Forwarded-User", kind ~= "service" and name or nil)
    set("X-Forwarded-Prefix", tool.head)
end

-- Return where a request goes, and say to the relay what it has to know where that is the way.
local function find_target(tool, way)
    if not tool.port then
        return targets.read_own(tool.url)
    end
    local kind, key = way:match("^(%a+):(%x+)$")
    if not key then
        return targets.read_port(tool.url, tool.port)
    end
    local target = targets.read_port(tool.url, RELAY_PORT)
    if kind == "starting" then
        ngx.var.tool_page = "tool-starting"
    end
    if target then
        -- A connection through the relay is one program's.
        target.is_once = true
        ngx.var.tool_relay = ("%d %s%s"):format(tool.port, key, ngx.var.upgrade == "" and " close" or "")
    end
    return target
end

-- Lead a request on, once it may go on.
function M.lead()
    local tool = ngx.ctx.tool
    if not tool then
        return front.choose()
    end
    local kind, name, ends_at, way = ngx.var.tool_word:match("^(%a+) (%S+) (%S+) (%S+)$")
    if not kind then
        return ngx.exit(ngx.HTTP_SERVICE_UNAVAILABLE)
    end
    if kind == "cookie" and is_from_elsewhere() then
        return ngx.exit(ngx.HTTP_FORBIDDEN)
    end
    local address = paths.resolve(ngx.var.request_uri)
    local head, rest, query = cut(tool, address)
    local target = head and find_target(tool, way)
    if not target then
        return ngx.exit(ngx.HTTP_NOT_FOUND)
    end
    if rest == "" and not tool.is_absolute then
        -- Its page names what belongs to it from here on.
        return ngx.redirect(head .. "/" .. query, 307)
    end
    tool.head, tool.ends_at = head, tonumber(ends_at)
    set_headers(tool, kind, text.decode(name))
    front.lead(tool.prefix, tool.generation, target, tool.is_absolute and address or rest .. query)
end

-- Write into the page for a port at which nothing answers which one that is.
function M.write_address()
    ngx.arg[1] = ngx.arg[1]:gsub("MLHUB_ADDRESS", (ngx.escape_uri(paths.resolve(ngx.var.request_uri)):gsub("%%", "%%%%")))
end

local function is_navigation()
    local var = ngx.var
    local mode, destination = var.http_sec_fetch_mode, var.http_sec_fetch_dest
    if ngx.req.get_method() ~= "GET" or var.http_upgrade or var.tool_authorization ~= "" then
        return false
    elseif mode then
        return mode == "navigate" and destination == "document"
    end
    return (var.http_accept or ""):find("text/html", 1, true) ~= nil
end

-- Answer who is not let in: a window goes to the hub, which knows its visitor or says why not.
function M.refuse(status)
    ngx.req.discard_body()
    ngx.header["Cache-Control"] = "no-store"
    if is_navigation() then
        return ngx.redirect(site.hub_url .. site.base_url .. "hub/tools?next=" .. ngx.escape_uri(ngx.var.request_uri), 302)
    end
    ngx.status = status
    ngx.header["Content-Type"] = "text/plain; charset=utf-8"
    ngx.say(status == 401 and "Open this address in a window of its own, or bring a token of the hub's."
        or "The hub lets this request into no port of this workspace.")
    return ngx.exit(ngx.OK)
end

return M
