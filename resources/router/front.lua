-- A request's way: its route, the connection that it is sent over, its answer, its end.
local balancer = require "ngx.balancer"
local heads = require "front.heads"
local answers = require "router.answers"
local cookies = require "router.cookies"
local open = require "router.open"
local paths = require "router.paths"
local routes = require "router.routes"
local site = require "router.site"
local targets = require "router.targets"

local M = {}

local SWITCHING_PROTOCOLS = 101
-- Of a workspace that is behind the check as a whole (mlhub/tools/access.py, resources/router/tools.lua).
local NOWHERE = "http://127.0.0.1:1"

function M.begin(file)
    site.read(file)
    routes.begin(site.default_target)
end

M.start = open.start

-- Whatever cannot be sent twice gets a connection of its own: one that is kept may be closed by the other side just then.
local function may_be_kept()
    local method, var = ngx.req.get_method(), ngx.var
    return (method == "GET" or method == "HEAD") and var.upgrade == ""
        and not var.http_content_length and not var.http_transfer_encoding
end

function M.make_url(target)
    if target.url then
        return target.url
    end
    if target.scheme == "https" then
        return "https://router_once" .. target.path
    end
    return (not target.is_once and may_be_kept() and "http://router_kept" or "http://router_once") .. target.path
end

-- HTTP/2 may bring a body without a header that tells of it. On a connection that is kept it would be somebody's next
-- request, where the server does not read the body of a GET.
local function drop_hidden_body()
    local method = ngx.req.get_method()
    if (method == "GET" or method == "HEAD") and not ngx.var.http_content_length then
        ngx.req.discard_body()
    end
end

-- Return prefix, generation and target of the request's route, or nothing.
function M.find_route()
    local var, path = ngx.var, ngx.var.uri
    if site.host_routing then
        path = "/" .. (var.http_host or ""):lower():gsub(":.*", "") .. path
    end
    return routes.find(path)
end

-- Say to nginx where the request goes: to this address of a target.
function M.lead(prefix, generation, target, address)
    local var, ctx, is_http2 = ngx.var, ngx.ctx, ngx.req.http_version() >= 2
    heads.check(is_http2)
    if var.upgrade == "" and var.http_upgrade then
        -- nginx would let a server change the protocol all the same.
        ngx.req.clear_header("Upgrade")
    end
    if is_http2 then
        drop_hidden_body()
    end
    ctx.prefix, ctx.generation, ctx.target = prefix, generation, target
    var.router_url = M.make_url(target) .. address
    var.router_name = target.name or ""
end

-- Find the request's route, and say so to nginx.
function M.choose()
    local var = ngx.var
    local prefix, generation, url = M.find_route()
    if not prefix then
        return ngx.exit(ngx.HTTP_NOT_FOUND)
    end
    if url == NOWHERE then
        return ngx.exec("@checked")
    end
    local target = targets.read(url)
    if not target then
        ngx.log(ngx.ERR, "the route ", prefix, " leads to ", url, ", which is no address of a server")
        return ngx.exit(ngx.HTTP_INTERNAL_SERVER_ERROR)
    end
    if var.http_cookie and var.http_cookie:find(cookies.OURS, 1, true) then
        ngx.req.set_header("Cookie", cookies.leave_out_ours(var.http_cookie))
    end
    M.lead(prefix, generation, target, paths.resolve(var.request_uri))
end

-- Name the address to connect to.
function M.pick()
    local target = ngx.ctx.target
    local is_right, problem = balancer.set_current_peer(target.address, target.port)
    if not is_right then
        ngx.log(ngx.ERR, "no connection to ", target.address, ": ", problem)
        return ngx.exit(ngx.ERROR)
    end
end

-- Edit the answer's head, and count it from now on.
function M.answer()
    local ctx = ngx.ctx
    if not ctx.prefix or ctx.opened then
        return
    end
    if ngx.req.http_version() < 1 then
        -- nginx takes what begins with no status line for HTTP/0.9, and hands on all of it as it is. A browser looks for
        -- the status line a few bytes further on, and reads a head that nobody here has read.
        error("an answer without a status line is none", 0)
    end
    local status = ngx.status
    if status < 200 and (status ~= SWITCHING_PROTOCOLS or ngx.var.upgrade == "") then
        -- Nobody asked for it, and a client would wait for another answer after it.
        ngx.status = 502
    elseif status < 300 then
        ctx.opened = open.open(ctx.prefix, ctx.generation, status == SWITCHING_PROTOCOLS, ctx.tool)
    end
    local person = answers.find_person(ctx.prefix)
    if person then
        answers.clean(person, ctx.tool)
    end
end

function M.finish()
    local opened = ngx.ctx.opened
    if opened then
        open.close(opened)
    end
end

return M
