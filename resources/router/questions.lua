-- What the hub is asked about whatever is open already: no request of nginx's own leads there from a timer.
local site = require "router.site"
local targets = require "router.targets"

local M = {}

local WAIT_MILLISECONDS = 1000

-- Return the status of the hub's answer to the question that let somebody in (resources/router/tools.lua); nothing where it
-- does not answer.
function M.ask(question)
    local hub = targets.read(site.default_target)
    local socket = ngx.socket.tcp()
    socket:settimeout(WAIT_MILLISECONDS)
    if not socket:connect(hub.address or hub.url:match("^%a+://([^/:]+)"), hub.port) then
        return nil
    end
    local lines = { ("GET %s HTTP/1.0"):format(question.path), "Host: hub", "X-MLHub-Front-Token: " .. site.token }
    for _, name in ipairs { "Cookie", "Authorization" } do
        if question[name] ~= "" then
            lines[#lines + 1] = name .. ": " .. question[name]
        end
    end
    local line = socket:send(table.concat(lines, "\r\n") .. "\r\n\r\n") and socket:receive()
    socket:close()
    return tonumber((line or ""):match("^HTTP/%S+ (%d%d%d)"))
end

return M
