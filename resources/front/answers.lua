-- What the front decides when an answer comes, whoever gave it.
local numbers = require "front.numbers"

local M = {}

local SWITCHING_PROTOCOLS = 101

-- A page may hold a token next to what an attacker had written into it: its compressed length would tell the token, letter
-- by letter (BREACH). What answers anything but a look may hold a new one.
local function may_be_compressed()
    local kind = ngx.header["Content-Type"]
    local method = ngx.req.get_method()
    return type(kind) == "string" and not kind:lower():find("^%s*text/html") and (method == "GET" or method == "HEAD")
end

function M.answer()
    if ngx.status == SWITCHING_PROTOCOLS then
        return numbers.open()
    end
    if not may_be_compressed() then
        -- nginx looks for it after this, and compresses nothing for who does not ask.
        ngx.req.clear_header("Accept-Encoding")
    end
end

return M
