-- Takes a connection into a place, where there is room for it. Again it changes nothing but the instance that it belongs to, and `info`.
-- KEYS, ARGV[1..10]: see place.lua
-- ARGV[11] connection   ARGV[12] instance   ARGV[13] user   ARGV[14] since   ARGV[15] transport   ARGV[16] info, JSON or ''
-- ARGV[17] most connections in the place, 0: any number   ARGV[18] reject, or evict: the oldest make room
-- Answers { 'in' | 'full' | 'late', 1 where it was announced, connections that made room … }

if late then return { 'late', 0 } end
local connection, user, info, max = ARGV[11], ARGV[13], ARGV[16], tonumber(ARGV[17])
local value = ARGV[12] .. ';' .. ARGV[14] .. ';' .. ARGV[15] .. ';' .. user
local known = redis.call('HGET', KEYS[3], connection)
local answer = { 'in', 0 }

local over = 0
if not known and max > 0 then over = redis.call('HLEN', KEYS[3]) - max + 1 end
if over > 0 then
  if ARGV[18] == 'reject' then return { 'full', 0 } end
  local all = redis.call('HGETALL', KEYS[3])
  local oldest = {}
  for i = 1, #all, 2 do
    oldest[#oldest + 1] = { connection = all[i], since = tonumber(string.match(all[i + 1], '^[^;]*;(%d+)')) or 0 }
  end
  table.sort(oldest, function (a, b)
    if a.since ~= b.since then return a.since < b.since end
    return a.connection < b.connection
  end)
  for i = 1, over do
    redis.call('HDEL', KEYS[3], oldest[i].connection)
    answer[#answer + 1] = oldest[i].connection
  end
end

if known ~= value then redis.call('HSET', KEYS[3], connection, value) end
local place = read(user)
if known and place then
  if place.info ~= info then
    place.info = info
    write(user, place)
  end
  return answer
end
local came = not place
if not place then place = { count = 0, since = ARGV[14] } end
place.count = math.max(0, place.count - math.max(0, over)) + 1
-- One that was lost is back, as far as anybody can tell.
place.lost = 0
place.info = info
write(user, place)
if came then answer[2] = announce() end
return answer
