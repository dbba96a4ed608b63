-- The routes, in memory that all workers share and that outlives each of them, and a reload.
--
-- A route is kept in three parts: what a request needs, what its owner said of it, and when it was last used.
local cjson = require "cjson"
local moments = require "router.moments"

local M = {}

local leading = ngx.shared.router_leading -- prefix → generation and target
local said = ngx.shared.router_said -- prefix → members of a JSON object
local used = ngx.shared.router_used -- prefix → seconds since 1970
local state = ngx.shared.router_state

-- So many parts a route may have.
M.MAX_PARTS = 24

-- What this worker has looked up since routes have last changed: prefix → route, false where there is none. Clients choose
-- what is looked up, so neither the names nor their number may be any.
local KEPT, LONGEST_KEPT = 5000, 600
local found, count, changes, deepest = {}, 0, nil, 0

-- Return a route's name with one slash at its beginning and none at its end.
function M.clean(spec)
    return "/" .. spec:gsub("^/+", ""):gsub("/+$", "")
end

function M.count_parts(prefix)
    local _, slashes = prefix:gsub("/", "")
    return slashes
end

-- Return generation and target of the route of just this name.
function M.get(prefix)
    local route = leading:get(prefix)
    if not route then
        return nil
    end
    local generation, target = route:match("^(%d+) (.*)$")
    return tonumber(generation), target
end

-- Note that what workers have looked up may be out of date; after the change.
local function note_change()
    state:incr("changes", 1, 0)
end

-- Return how many parts the deepest of all routes has had.
local function find_deepest()
    for parts = M.MAX_PARTS, 1, -1 do
        if state:get("parts " .. parts) then
            return parts
        end
    end
    return 0
end

local function forget_what_is_old()
    local now = state:get("changes")
    if now ~= changes or count > KEPT then
        found, count, changes, deepest = {}, 0, now, find_deepest()
    end
end

local function look_up(prefix)
    local route = found[prefix]
    if route == nil then
        local generation, target = M.get(prefix)
        route = generation and { prefix = prefix, generation = generation, target = target } or false
        if #prefix <= LONGEST_KEPT then
            found[prefix], count = route, count + 1
        end
    end
    return route
end

-- Return prefix, generation and target of the route with most of the path's parts, or nothing.
function M.find(path)
    forget_what_is_old()
    local best, position = look_up("/"), 1
    for _ = 1, deepest do
        local slash = path:find("/", position + 1, true)
        local last = (slash or #path + 1) - 1
        if last > 1 then
            best = look_up(path:sub(1, last)) or best
        end
        if not slash then
            break
        end
        position = slash
    end
    if best then
        return best.prefix, best.generation, best.target
    end
end

-- Make or replace a route; ``members`` is JSON without its braces. Return what is wrong where there is no room for it.
function M.add(prefix, target, members, ends_sockets)
    local generation = M.get(prefix)
    if not generation or ends_sockets then
        generation = state:incr("generation", 1, 0)
    end
    state:set("parts " .. M.count_parts(prefix), true)
    local had = said:get(prefix)
    local fits, problem = said:safe_set(prefix, members)
    if fits then
        fits, problem = used:safe_set(prefix, ngx.now())
    end
    if fits then
        fits, problem = leading:safe_set(prefix, generation .. " " .. target)
    end
    if not fits then
        if had then
            said:safe_set(prefix, had)
        else
            M.forget(prefix)
        end
        return problem
    end
    note_change()
    if ends_sockets then
        state:incr("ended", 1, 0)
    end
end

function M.forget(prefix)
    leading:delete(prefix)
    said:delete(prefix)
    used:delete(prefix)
    note_change()
end

-- Remove a route; return true if there was one.
function M.remove(prefix)
    local was_there = M.get(prefix) ~= nil
    M.forget(prefix)
    if was_there then
        state:incr("ended", 1, 0)
    end
    return was_there
end

-- Return a number that grows when a route's open WebSockets are to be ended.
function M.count_ended()
    return state:get("ended") or 0
end

function M.note_use(prefix)
    used:replace(prefix, ngx.now())
end

-- Return what its owner said of a route, or nothing.
function M.read_members(prefix)
    local members = said:get(prefix)
    return members and cjson.decode("{" .. members .. "}")
end

-- Return the JSON of one route, and when it was last used; nothing where it is gone.
function M.describe(prefix)
    local members, moment = said:get(prefix), used:get(prefix)
    if members and moment then
        return ('{%s,"last_activity":"%s"}'):format(members, moments.write(moment)), moment
    end
end

-- Return the JSON of all routes, or of those that nobody used since a moment.
function M.list(inactive_since)
    local found = {}
    for _, prefix in ipairs(leading:get_keys(0)) do
        local description, moment = M.describe(prefix)
        if description and (not inactive_since or moment < inactive_since) then
            found[#found + 1] = cjson.encode(prefix) .. ":" .. description
        end
    end
    return "{" .. table.concat(found, ",") .. "}"
end

-- Make the route that is there before anybody has pushed one, once: not after a reload.
function M.begin(default_target)
    if state:add("begun", true) and default_target ~= "" then
        M.add("/", default_target, '"target":' .. cjson.encode(default_target))
    end
end

return M
