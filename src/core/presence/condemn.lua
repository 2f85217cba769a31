-- Finds an instance dead: from here on it can't renew its lease, only come back under another name. One that is alive again is let go.
-- KEYS[1], KEYS[2] see tick.lua   ARGV[3] instance   ARGV[4] ms for which no other instance sweeps it
-- Answers 1: the caller sweeps it; 0: it lives, it is swept already, or another does it.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[3]) or '')
if not lease or lease >= now then return 0 end
local taken = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[3]) or '')
if taken and taken > now then return 0 end
-- After a write that needs no memory Redis lets this one through, however full it is.
redis.call('ZREM', KEYS[2], ARGV[3])
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[4])), ARGV[3])
return 1
