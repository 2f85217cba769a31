-- Common to the scripts of a place: a channel with members, or a user's own connections. Comes after send.lua.
-- KEYS[1], KEYS[2] standing and log of the channel, see standing.lua
-- KEYS[3] hash connection -> instance;since;transport;user      KEYS[4] hash user -> connections;since;lost;info
-- KEYS[5] when the user was last seen; only where the place is a user's own
-- ARGV[1], ARGV[2] see standing.lua
-- ARGV[3] Redis time after which this does nothing, since whoever sent it has given it up
-- ARGV[4..10] what is announced where there is a reason: Redis channel, head, event ('': nothing), JSON without the first brace, messages
--   kept, ms for which they are kept, ms for which the standing of a silent channel is kept
-- A user is a JSON text. `lost` is when a connection was lost that has not come back, 0 for none. Times are ms of Redis.

local SEEN = 2592000000

local function clock ()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local now = clock()
local late = now > tonumber(ARGV[3])

local function number (value) return string.format('%.0f', value) end

local function read (user)
  local text = redis.call('HGET', KEYS[4], user)
  if not text then return nil end
  local count, since, lost, info = string.match(text, '^(%d+);(%d+);(%d+);(.*)$')
  return { count = tonumber(count), since = since, lost = tonumber(lost), info = info }
end

local function write (user, place)
  redis.call('HSET', KEYS[4], user, number(place.count) .. ';' .. place.since .. ';' .. number(place.lost) .. ';' .. place.info)
end

-- Answers 1 where something was announced.
local function announce ()
  if ARGV[6] == '' then return 0 end
  send({
    channel = ARGV[4], head = ARGV[5], event = ARGV[6], rest = ARGV[7], size = ARGV[8], ttl = ARGV[9], kept = ARGV[10]
  }, function () end)
  return 1
end

-- Nobody is in the place any more. `seen` is when somebody was, as far as is known besides `lost`. Answers as `announce`.
local function giveUp (user, place, seen)
  redis.call('HDEL', KEYS[4], user)
  if KEYS[5] then redis.call('SET', KEYS[5], number(math.max(place.lost, seen)), 'PX', SEEN) end
  return announce()
end
