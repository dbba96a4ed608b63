-- Texts of requests, as JavaScript's decodeURIComponent and encodeURIComponent read and write them.
local M = {}

-- Return the text that an escaped one stands for, or nothing where it stands for none.
function M.decode(escaped)
    if escaped:gsub("%%%x%x", ""):find("%", 1, true) then
        return nil
    end
    local text = escaped:gsub("%%(%x%x)", function(digits)
        return string.char(tonumber(digits, 16))
    end)
    local _, _, error = ngx.re.find(text, "^", "u")
    return not error and text or nil
end

function M.encode(text)
    return (text:gsub("[^%w%-_.!~*'()]", function(sign)
        return ("%%%02X"):format(sign:byte())
    end))
end

function M.trim(text)
    return text:match("^%s*(.-)%s*$")
end

return M
