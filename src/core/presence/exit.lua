-- Takes a connection out of a place. Again it changes nothing.
-- how: exit, by its own wish; lost, it may come back; swept, its instance is dead
-- last: when a dead instance last said that it lives, else ''   of: only if it is of this instance; '' for any
-- Answers 'out', and 1 where it was announced.
local function exit (connection, how, last, of)
  local known = redis.call('HGET', connections, connection)
  if not known then return 'out 0' end
  local owner, user = string.match(known, '^([^;]*);[^;]*;[^;]*;(.*)$')
  if of ~= '' and owner ~= of then return 'out 0' end
  redis.call('HDEL', connections, connection)
  local place = read(user)
  if not place then return 'out 0' end
  place.count = math.max(0, place.count - 1)
  if how == 'lost' then place.lost = now end
  -- With the last one gone by its own wish there is nothing to wait for, unless another was lost a moment ago.
  if place.count == 0 and place.lost + grace <= now then return 'out ' .. giveUp(user, place, tonumber(last) or now) end
  write(user, place)
  return 'out 0'
end
