-- What boot wrote for the router (mlhub/boot/router.py), read once, before there are workers.
local cjson = require "cjson"

local M = {}

function M.read(path)
    local file = assert(io.open(path))
    for name, value in pairs(cjson.decode(file:read("*a"))) do
        M[name] = value
    end
    file:close()
end

return M
