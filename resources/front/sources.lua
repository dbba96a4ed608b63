-- Whom a request is counted for at the front. The hub counts alike (mlhub/signin/origin.py).
local M = {}

local IPV6_BYTES, NETWORK_BYTES = 16, 8
local MAPPED = ("\0"):rep(10) .. "\255\255"
local KNOWN_BROWSER = "cookie_mlhub-known-browser"

-- Return the client's address, or its IPv6 network: one subscriber has a whole one of 64 bits.
function M.find()
    local address = ngx.var.binary_remote_addr
    if #address == IPV6_BYTES and address:sub(1, #MAPPED) ~= MAPPED then
        return address:sub(1, NETWORK_BYTES)
    end
    return address
end

-- Return the queue of the sign-in that a request is in. Browsers in which somebody has signed in before have one of their own,
-- so that a flood behind the same address is not ahead of them. Who makes such a cookie up gets a second queue, and no more.
function M.find_queue()
    return (ngx.var[KNOWN_BROWSER] and "known " or "") .. M.find()
end

return M
