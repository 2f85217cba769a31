-- Forgets an instance that has no entries any more. That it was found dead is remembered, for one that comes back late.
-- KEYS[1], KEYS[2] see tick.lua   ARGV[3] instance   ARGV[4] ms for which that is remembered

local time = redis.call('TIME')
redis.call('ZREM', KEYS[1], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', time[1] * 1000 - tonumber(ARGV[4])))
return 1
