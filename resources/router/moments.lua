-- Moments as JavaScript writes them, and ISO 8601 as it reads them.
local M = {}

function M.write(seconds)
    local whole = math.floor(seconds)
    return os.date("!%Y-%m-%dT%H:%M:%S", whole) .. (".%03dZ"):format(math.floor((seconds - whole) * 1000))
end

local function count_days(year, month, day)
    -- Years begin in March here, so that a leap day is a year's last.
    year = month <= 2 and year - 1 or year
    local month_from_march = (month + 9) % 12
    return 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
        + math.floor((153 * month_from_march + 2) / 5) + day - 1 - 719468
end

local function read_zone(zone)
    if zone == "" or zone == "Z" then
        return 0
    end
    -- A plus sign that nobody escaped is a blank by now.
    local sign, hours, minutes = zone:match("^([+%- ])(%d%d):?(%d%d)$")
    return sign and (sign == "-" and -1 or 1) * (hours * 60 + minutes) * 60
end

-- Return the seconds since 1970, or nothing where the text names no moment.
function M.read(text)
    local year, month, day, rest = text:match("^(%d%d%d%d)-(%d%d)-(%d%d)(.*)$")
    if not year then
        return nil
    end
    local hours, minutes, after = rest:match("^[T ](%d%d):(%d%d)(.*)$")
    local seconds, zone = (after or ""):match("^:(%d%d%.?%d*)(.*)$")
    local shift = read_zone(hours and (zone or after) or rest)
    return shift and count_days(tonumber(year), tonumber(month), tonumber(day)) * 86400
        + (hours or 0) * 3600 + (minutes or 0) * 60 + (seconds or 0) - shift
end

return M
