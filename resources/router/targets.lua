-- Where a route leads: the URL taken apart, once in each worker.
local site = require "router.site"
local text = require "router.text"

local M = {}

local PORTS = { http = 80, https = 443 }
local KEPT = 20000
local known, count = {}, 0

local function find_address(host)
    if host:find("^%[[%x:.]+%]$") or host:find("^%d+%.%d+%.%d+%.%d+$") then
        return host
    end
    return site.hosts[host:lower()]
end

local function parse(url)
    local scheme, authority, path = url:match("^([%a+]+)://([^/?#]*)([^?#]*)$")
    if not scheme or authority == "" or authority:find("@", 1, true) then
        return nil
    end
    path = path:gsub("/+$", "")
    if scheme == "http+unix" or scheme == "unix+http" then
        local socket = text.decode(authority)
        return socket and { scheme = "http", address = "unix:" .. socket, path = path }
    end
    local host, port = authority:match("^(.-):(%d+)$")
    host, port = host or authority, tonumber(port or PORTS[scheme])
    if not PORTS[scheme] or not port or port > 65535 or not (host:find("^[%w%-_.]+$") or host:find("^%[[%x:.]+%]$")) then
        return nil
    end
    local target = { scheme = scheme, name = host:gsub("[%[%]]", ""), port = port, path = path, address = find_address(host) }
    if not target.address then
        -- nginx looks the name up, and knows no search domains.
        local full = not host:find(".", 1, true) and site.search ~= "" and host .. "." .. site.search or host
        target.url = ("%s://%s:%d%s"):format(scheme, full, port, path)
    end
    return target
end

-- Return scheme, address, port and path of a target; for one that has to be looked up the ``url``. Nothing where it is no URL.
function M.read(url)
    local target = known[url]
    if target == nil then
        count = count + 1
        if count > KEPT then
            known, count = {}, 1
        end
        target = parse(url) or false
        known[url] = target
    end
    return target or nil
end

-- What is on the machine of the router itself is nobody's workspace.
local function is_here(address)
    return address:find("^127%.") or address:find("^0%.") or address:find("^%[::") or address:find("^unix:")
end

-- Return the target of a workspace's URL itself, without a path; nothing where that is the router's own machine.
function M.read_own(url)
    local target = M.read(url)
    return target and target.port and M.read_port(url, target.port)
end

-- Return another port of the machine that a target's URL names, for HTTP; nothing where that is the router's own.
function M.read_port(url, port)
    local target = M.read(url)
    if not target or not target.name or (target.address and is_here(target.address)) then
        return nil
    end
    local other = { scheme = "http", name = target.name, port = port, path = "", address = target.address }
    if not target.address then
        other.url = ("http://%s:%d"):format(target.url:match("^%a+://([^/:]+)"), port)
    end
    return other
end

return M
