-- How large the head of a request may be: one line of it, and all of it. Hub and configurable-http-proxy take as much. What is
-- too large is answered by the statuses that nginx itself has for it (nginx-locations.j2).
local M = {}

local LINE_BYTES, HEAD_BYTES = 32 * 1024, 128 * 1024
local ADDRESS_TOO_LARGE, HEAD_TOO_LARGE = 414, 494

-- HTTP/2 compresses a head: a few bytes may be many lines, and a cookie comes in pieces.
local function measure()
    local whole, longest = 0, 0
    for name, values in pairs(ngx.req.get_headers(0, true)) do
        for _, value in ipairs(type(values) == "table" and values or { values }) do
            local line = #name + #value
            whole, longest = whole + line, math.max(longest, line)
        end
    end
    return whole, longest
end

-- Return the status for a head that is too large, nothing for any other.
local function judge(is_http2)
    local length = tonumber(ngx.var.request_length)
    if length <= LINE_BYTES and not is_http2 then
        return nil
    end
    if #ngx.var.request_uri > LINE_BYTES then
        return ADDRESS_TOO_LARGE
    end
    local whole, longest = measure()
    return (math.max(length, whole) > HEAD_BYTES or longest > LINE_BYTES) and HEAD_TOO_LARGE or nil
end

-- End a request whose head is too large.
function M.check(is_http2)
    local status = judge(is_http2)
    if status then
        ngx.exit(status)
    end
end

return M
