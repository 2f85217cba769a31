-- Takes a connection out of a place. Again it changes nothing.
-- KEYS, ARGV[1..10]: see place.lua
-- ARGV[11] connection
-- ARGV[12] exit: by its own wish; lost: it may come back; swept: its instance is dead
-- ARGV[13] grace, ms   ARGV[14] when a dead instance last said that it lives, else ''   ARGV[15] only of this instance; '': of any
-- Answers { 'out' | 'late', 1 where it was announced }

if late then return { 'late', 0 } end
local known = redis.call('HGET', KEYS[3], ARGV[11])
if not known then return { 'out', 0 } end
local instance, user = string.match(known, '^([^;]*);[^;]*;[^;]*;(.*)$')
if ARGV[15] ~= '' and instance ~= ARGV[15] then return { 'out', 0 } end
redis.call('HDEL', KEYS[3], ARGV[11])
local place = read(user)
if not place then return { 'out', 0 } end
place.count = math.max(0, place.count - 1)
if ARGV[12] == 'lost' then place.lost = now end
-- With the last one gone by its own wish there is nothing to wait for, unless another was lost a moment ago.
if place.count == 0 and place.lost + tonumber(ARGV[13]) <= now then return { 'out', giveUp(user, place, tonumber(ARGV[14]) or now) } end
write(user, place)
return { 'out', 0 }
