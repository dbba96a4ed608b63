-- What a workspace's answer may do.
--
-- Hub and workspaces share an origin (without `subdomain_host`), so an answer may say nothing about the origin as a whole,
-- nothing to nginx, and sets cookies for its own person's paths alone.
local site = require "router.site"
local text = require "router.text"

local M = {}

local HUBS_COOKIES = {
    ["jupyterhub-session-id"] = true,
    ["jupyterhub-hub-login"] = true,
    ["jupyterhub-services"] = true,
    ["mlhub-tools"] = true,
}
-- What holds for a whole origin, other pages or browser, whatever the path that it comes from.
local ORIGINS_HEADERS = {
    ["alt-svc"] = true, -- where the origin is served
    ["clear-site-data"] = true, -- signs everybody out
    ["cross-origin-opener-policy"] = true, -- cuts the hub's page off that opened this one
    ["cross-origin-opener-policy-report-only"] = true,
    ["nel"] = true, -- sends reports about all requests of the origin to an address of one's choice
    ["origin-agent-cluster"] = true,
    ["report-to"] = true,
    ["sec-session-registration"] = true, -- as the next was called at first
    ["secure-session-registration"] = true, -- lets a browser hold up all requests of the origin (DBSC)
    ["service-worker-allowed"] = true, -- lets a script answer for pages elsewhere
    ["set-login"] = true, -- tells the browser that its user has signed out of the origin
    ["strict-transport-security"] = true, -- also for all other ports of this host name
}

-- Return the name of the person whose workspace a route leads to, or nothing where it leads to none.
function M.find_person(prefix)
    local path = site.host_routing and prefix:match("^/[^/]*(/.*)$") or prefix
    local people = site.base_url .. "user/"
    return path:sub(1, #people) == people and path:sub(#people + 1):match("^[^/]+") or nil
end

local function is_within(path, own)
    local decoded = text.decode(path)
    return decoded ~= nil and (decoded .. "/"):sub(1, #own) == own
end

-- Return the cookie for paths below ``own`` (as a browser reads it: RFC 6265, 5.2), or nothing for one of the hub's.
function M.keep_within(cookie, own)
    local pair, rest = cookie:match("^([^;]*)(.*)$")
    if HUBS_COOKIES[text.trim(pair:match("^[^=]*"))] then
        return nil
    end
    local kept, path = { pair }, nil
    for attribute in rest:gmatch(";([^;]*)") do
        local name = text.trim(attribute:match("^[^=]*")):lower()
        if name == "path" then
            path = text.trim(attribute:match("=(.*)$") or attribute)
        elseif name ~= "domain" then
            kept[#kept + 1] = attribute
        end
    end
    if not path or not is_within(path, own.path) then
        path = own.escaped
    end
    kept[#kept + 1] = " Path=" .. path
    return table.concat(kept, ";")
end

-- Return the paths that cookies may be for: a tool's own, else all of its person's.
local function find_own(person, tool)
    if tool then
        return { path = text.decode(tool.head) .. "/", escaped = tool.head .. "/" }
    end
    local people = site.base_url .. "user/"
    return { path = people .. person .. "/", escaped = people .. text.encode(person):gsub("%%40", "@") .. "/" }
end

local function clean_cookies(person, tool)
    local cookies = ngx.header["Set-Cookie"]
    if not cookies then
        return
    end
    local own, kept = find_own(person, tool), {}
    for _, cookie in ipairs(type(cookies) == "table" and cookies or { cookies }) do
        kept[#kept + 1] = M.keep_within(cookie, own)
    end
    ngx.header["Set-Cookie"] = kept
end

-- A program that does not know its prefix leads to where it stands without one.
local function lead_back(tool)
    local place = ngx.header.Location
    if tool.is_absolute or type(place) ~= "string" then
        return
    end
    local host, rest = place:match("^https?://([^/?#]+)(.*)$")
    if host and host:lower() == (ngx.var.forwarded_host or ""):lower() then
        place = rest:sub(1, 1) == "/" and rest or "/" .. rest
    end
    if place:find("^/[^/\\]") or place == "/" then
        local is_inside = (place:match("^[^?#]*") .. "/"):sub(1, #tool.head + 1) == tool.head .. "/"
        ngx.header.Location = is_inside and place or tool.head .. place
    end
end

-- Take out of the answer that is about to be sent what is not a workspace's, or a ``tool``'s of it, to say.
function M.clean(person, tool)
    for name in pairs(ngx.resp.get_headers(0)) do
        if ORIGINS_HEADERS[name] or name:sub(1, 8) == "x-accel-" then
            ngx.header[name] = nil
        end
    end
    clean_cookies(person, tool)
    if tool then
        lead_back(tool)
    end
end

return M
