-- The REST API of configurable-http-proxy, for JupyterHub's own client and whoever else knows the token.
local numbers = require "front.numbers"
local members = require "router.members"
local moments = require "router.moments"
local routes = require "router.routes"
local site = require "router.site"
local text = require "router.text"

local M = {}

local function finish(status, body, kind)
    ngx.status = status
    ngx.header["Content-Type"] = kind or "text/plain"
    if status ~= 204 then
        ngx.header["Content-Length"] = body and #body or 0
    end
    if body then
        ngx.print(body)
    end
    return ngx.exit(ngx.OK)
end

local function is_authorized()
    local token = (ngx.var.http_authorization or ""):match("token%s+(%S+)") or ""
    -- Digests: how long the comparison takes tells nothing about the token.
    return ngx.sha1_bin(token) == ngx.sha1_bin(site.token)
end

local function get(spec)
    if spec ~= "" and spec ~= "/" then
        local description = routes.describe(routes.clean(spec))
        return finish(description and 200 or 404, description, "application/json")
    end
    local words = ngx.req.get_uri_args()
    local since = words.inactiveSince or words.inactive_since
    if not since or since == "" then
        return finish(200, routes.list(), "application/json")
    end
    local moment = type(since) == "string" and moments.read(since)
    if not moment then
        return finish(400, ("Invalid datestamp '%s' must be ISO8601."):format(tostring(since)))
    end
    return finish(200, routes.list(moment), "application/json")
end

-- Return what is kept of what was sent: all but what is no property of the route, or is the proxy's to say.
local function join(found, prefix)
    local host = site.host_routing and prefix ~= "/" and prefix:match("^/([^/]*)")
    local kept = {}
    for _, member in ipairs(found) do
        local name = member.name
        if name ~= "ends_websockets" and name ~= "last_activity" and not (host and name == "host") then
            kept[#kept + 1] = member.text
        end
    end
    if host then
        kept[#kept + 1] = '"host":"' .. host:gsub('[\\"%c]', "") .. '"'
    end
    return table.concat(kept, ",")
end

local function post(spec)
    ngx.req.read_body()
    local body = ngx.req.get_body_data() or ""
    local found, object = members.split(body)
    if not found then
        return finish(400, "Body not valid JSON")
    end
    if type(object.target) ~= "string" then
        return finish(400, "Must specify 'target' as string")
    end
    local prefix = routes.clean(spec)
    if routes.count_parts(prefix) > routes.MAX_PARTS then
        return finish(400, ("A route has at most %d parts between slashes."):format(routes.MAX_PARTS))
    end
    local problem = routes.add(prefix, object.target, join(found, prefix), object.ends_websockets == true)
    if problem then
        ngx.log(ngx.ERR, "no room for the route ", prefix, ": ", problem)
        return finish(507, "There is no room for more routes.")
    end
    return finish(201)
end

local function delete(spec)
    return finish(routes.remove(routes.clean(spec)) and 204 or 404)
end

local HANDLERS = { GET = get, POST = post, DELETE = delete }

function M.answer()
    local path = ngx.var.request_uri:match("^[^?#]*")
    if path == "/metrics" then
        -- Beyond CHP's API: for a hub in a container of its own (mlhub/hub/front_numbers.py).
        return is_authorized() and numbers.answer() or finish(403)
    end
    local spec = path:match("^/api/routes(.*)$")
    if not spec or not (spec == "" or spec:sub(1, 1) == "/") then
        return finish(404, "Not Found")
    end
    local handler = HANDLERS[ngx.req.get_method()]
    if not handler then
        return finish(405, "Method not supported")
    end
    if not is_authorized() then
        return finish(403)
    end
    local decoded = text.decode(spec)
    if not decoded then
        return finish(400, "The route's name is no escaped UTF-8.")
    end
    return handler(decoded)
end

return M
