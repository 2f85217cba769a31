-- Takes a connection into a place, where there is room for it. Again it changes nothing but the instance that it belongs to, and `info`.
-- max: most connections in the place, 0 for any number   policy: reject, or evict: the oldest make room
-- Answers 'in' or 'full', 1 where it was announced, and connections that made room.
local function enter (connection, user, since, transport, info, max, policy)
  max = tonumber(max)
  local value = instance .. ';' .. since .. ';' .. transport .. ';' .. user
  local over, evicted = 0, ''
  if max > 0 then over = math.max(0, redis.call('HLEN', connections) - max + 1) end
  -- One that is in already takes no other's place.
  if over > 0 and redis.call('HGET', connections, connection) then over = 0 end
  if over > 0 then
    if policy == 'reject' then return 'full 0' end
    local all = redis.call('HGETALL', connections)
    local oldest = {}
    for i = 1, #all, 2 do
      oldest[#oldest + 1] = { connection = all[i], since = tonumber(string.match(all[i + 1], '^[^;]*;(%d+)')) or 0 }
    end
    table.sort(oldest, function (a, b)
      if a.since ~= b.since then return a.since < b.since end
      return a.connection < b.connection
    end)
    for i = 1, over do
      redis.call('HDEL', connections, oldest[i].connection)
      evicted = evicted .. ' ' .. oldest[i].connection
    end
  end

  local known = redis.call('HSET', connections, connection, value) == 0
  local place = read(user)
  if known and place then
    if place.info ~= info then
      place.info = info
      write(user, place)
    end
    return 'in 0'
  end
  local came = not place
  if not place then place = { count = 0, since = since } end
  place.count = math.max(0, place.count - over) + 1
  -- One that was lost is back, as far as anybody can tell.
  place.lost = 0
  place.info = info
  write(user, place)
  return 'in ' .. (came and announce() or 0) .. evicted
end
