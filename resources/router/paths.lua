-- Addresses as clients write them, to be handed on.
local M = {}

-- Return an address without dot segments: nginx has chosen location and route by a path without them, and no server is to
-- read another one. Browsers send none.
function M.resolve(address)
    local path, query = address:match("^([^?]*)(.*)$")
    if not path:find("/.", 1, true) and not path:find("/%2", 1, true) then
        return address
    end
    local kept, has_dots, is_folder = {}, false, false
    for part in path:gmatch("/([^/]*)") do
        local plain = part:gsub("%%2[eE]", ".")
        local is_dots = plain == "." or plain == ".."
        has_dots, is_folder = has_dots or is_dots, is_dots or part == ""
        if plain == ".." then
            kept[#kept] = nil
        elseif part ~= "" and not is_dots then
            kept[#kept + 1] = part
        end
    end
    if not has_dots then
        return address
    end
    return "/" .. table.concat(kept, "/") .. (is_folder and #kept > 0 and "/" or "") .. query
end

return M
