-- Keeps revocations, all or none, and forgets those that have ended.
-- KEYS[1] sorted set: revocations as texts, by the moment until which they count (Unix ms)
-- ARGV[1] how many may be kept   ARGV[2..] until, text, until, text, …
-- Answers how many of them say something new, -1 when there are too many.

local time = redis.call('TIME')
-- First, also since Redis lets what follows a write that needs no memory through, however full it is.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
local new = 0
for i = 3, #ARGV, 2 do
  if not redis.call('ZSCORE', KEYS[1], ARGV[i]) then new = new + 1 end
end
if redis.call('ZCARD', KEYS[1]) + new > tonumber(ARGV[1]) then return -1 end
local changed = 0
for i = 2, #ARGV, 2 do
  changed = changed + redis.call('ZADD', KEYS[1], 'GT', 'CH', ARGV[i], ARGV[i + 1])
end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if last then redis.call('PEXPIREAT', KEYS[1], last) end
return changed
