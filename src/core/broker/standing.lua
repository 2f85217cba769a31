-- Common to the scripts of a channel with a log.
-- KEYS[1] standing: hash { e: epoch, s: offset of the last message, r: term in which the last epoch began, f: earlier epochs }
-- KEYS[2] log: stream, id of an entry = offset, field m = the message as it travels
-- A script of many channels takes them in turn, as `key` and `log`.
-- ARGV[1] term of the Redis that runs this, see term.lua   ARGV[2] an epoch that was never used
--
-- An epoch is never used again. It ends with the term of the Redis that numbered in it, since that one may have known more: what
-- the next one numbers must not look like what it numbered. Where an epoch ended is kept ("<epoch>:<offset>",
-- newest first, 8 of them): up to there its offsets mean the same as ever. "!" behind it: something that was acknowledged got lost before the
-- next epoch began. "<epoch>:" is one that was lost altogether, before the next newer one in the list began.

local EARLIER = 8

local key, log = KEYS[1], KEYS[2]

local function standing ()
  local known = redis.call('HMGET', key, 'e', 's', 'r', 'f')
  return known[1], tonumber(known[2] or '0'), known[3], known[4] or ''
end

-- Earlier epochs with one more in front.
local function with (one, earlier)
  local list = { one }
  for other in string.gmatch(earlier, '[^,]+') do
    if #list < EARLIER then list[#list + 1] = other end
  end
  return table.concat(list, ',')
end

-- Ends an epoch and begins the next one.
local function follow (epoch, offset, earlier, mark)
  earlier = with(epoch .. ':' .. string.format('%.0f', offset) .. mark, earlier)
  redis.call('HSET', key, 'e', ARGV[2], 'r', ARGV[1], 'f', earlier)
  return ARGV[2], offset, earlier
end

-- Begins the first epoch of a channel, whose log is then to be empty.
local function begin ()
  redis.call('HSET', key, 'e', ARGV[2], 's', '0', 'r', ARGV[1])
end

-- The epoch to number in and the last offset; begins an epoch where it must.
local function current ()
  local epoch, offset, term, earlier = standing()
  if not epoch then
    -- In this order: Redis refuses a script for want of memory at its first write only, and DEL is never refused.
    begin()
    redis.call('DEL', log)
    return ARGV[2], 0, ''
  end
  if term ~= ARGV[1] then return follow(epoch, offset, earlier, '') end
  return epoch, offset, earlier
end
