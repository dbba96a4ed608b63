-- The members of a JSON object as they were written: decoded and encoded again, long numbers and empty lists would be others.
local cjson = require "cjson.safe"
local text = require "router.text"

local M = {}

local QUOTE = 34

cjson.decode_invalid_numbers(false)

-- Return where the string ends that begins at a position.
local function skip_string(json, position)
    repeat
        position = json:find('["\\]', position + 1)
        local ends = json:byte(position) == QUOTE
        position = position + (ends and 0 or 1)
    until ends
    return position
end

local function take(found, json, first, last)
    local from = json:find('"', first, true)
    if from and from <= last then
        local key = json:sub(from, skip_string(json, from))
        found[#found + 1] = { name = cjson.decode("[" .. key .. "]")[1], text = text.trim(json:sub(first, last)) }
    end
end

-- Return the object's members in their order, and the object. One without any where it is other JSON, nothing where it is none.
function M.split(json)
    local object = cjson.decode(json)
    if object == nil then
        return nil
    end
    local found, depth = {}, 0
    local first = json:match("^%s*{()")
    local position = first
    while position do
        position = json:find('[]["{},]', position)
        local sign = json:sub(position, position)
        if sign == '"' then
            position = skip_string(json, position)
        elseif sign == "{" or sign == "[" then
            depth = depth + 1
        elseif depth > 0 then
            depth = sign == "," and depth or depth - 1
        else
            take(found, json, first, position - 1)
            first = position + 1
            if sign ~= "," then
                return found, object
            end
        end
        position = position + 1
    end
    return found, {}
end

return M
