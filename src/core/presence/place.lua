-- Common to the steps of steps.lua, each of which is about one place: a channel with members, or a user's own connections. Comes after send.lua.
-- A user is a JSON text. `lost` is when a connection was lost that has not come back, 0 for none. Times are ms of Redis.

local SEEN = 2592000000

local function clock ()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local now = clock()
local instance, grace = ARGV[4], tonumber(ARGV[5])

-- Of the step that is taken. Keys: hash connection -> instance;since;transport;user, hash user -> connections;since;lost;info, and only where
-- the place is a user's own when the user was last seen. What is announced where there is a reason; nil: nothing.
local connections, users, seen, message

local function number (value) return string.format('%.0f', value) end

local function read (user)
  local text = redis.call('HGET', users, user)
  if not text then return nil end
  local count, since, lost, info = string.match(text, '^(%d+);(%d+);(%d+);(.*)$')
  return { count = tonumber(count), since = since, lost = tonumber(lost), info = info }
end

local function write (user, place)
  redis.call('HSET', users, user, number(place.count) .. ';' .. place.since .. ';' .. number(place.lost) .. ';' .. place.info)
end

-- Answers 1 where something was announced.
local function announce ()
  if not message then return 0 end
  gather(message.channel, (store(message.size, message.ttl, message.kept, message.head, message.event, message.rest)))
  return 1
end

-- Nobody is in the place any more. `last` is when somebody was, as far as is known besides `lost`. Answers as `announce`.
local function giveUp (user, place, last)
  redis.call('HDEL', users, user)
  if seen then redis.call('SET', seen, number(math.max(place.lost, last)), 'PX', SEEN) end
  return announce()
end
