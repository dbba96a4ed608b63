-- Cookies of requests: which of them are the hub's.
local text = require "router.text"

local M = {}

-- By which the hub knows people below the tools of one workspace (mlhub/tools/sessions.py).
M.OURS = "mlhub-tools"

local function split(header)
    local pairs_found = {}
    for pair in (header or ""):gmatch("[^;]+") do
        local whole = text.trim(pair)
        if whole ~= "" then
            pairs_found[#pairs_found + 1] = { name = text.trim(whole:match("^[^=]*")), text = whole }
        end
    end
    return pairs_found
end

local function join(header, is_kept)
    local kept = {}
    for _, pair in ipairs(split(header)) do
        if is_kept(pair.name) then
            kept[#kept + 1] = pair.text
        end
    end
    return table.concat(kept, "; ")
end

-- Return those of a header that are ours: pages may have set more than one. An empty text where none is.
function M.find_ours(header)
    return join(header, function(name) return name == M.OURS end)
end

local function or_nothing(header)
    return header ~= "" and header or nil
end

-- Return a header without ours; nothing where no cookie is left.
function M.leave_out_ours(header)
    return or_nothing(join(header, function(name) return name ~= M.OURS end))
end

-- Return a header without all that the hub, or a workspace's own sign-in at the hub, has set.
function M.leave_out_the_hubs(header)
    return or_nothing(join(header, function(name)
        local plain = name:gsub("^__%a+%-", "")
        return name ~= M.OURS and plain:sub(1, 11) ~= "jupyterhub-"
    end))
end

return M
