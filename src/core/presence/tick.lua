-- Says that an instance lives, and asks what there is to do for it: users who are to be given up, and instances that are dead.
-- KEYS[1] sorted set instance -> end of its lease   KEYS[2] sorted set instance that was found dead -> until when another sweeps it
-- KEYS[3] sorted set of places that users may have left -> when to look
-- ARGV[1] term of this Redis   ARGV[3] instance   ARGV[4] length of a lease, ms   ARGV[5] '1': renew it, if only for being due
-- ARGV[6] ms for which places are not handed to others   ARGV[7] most places   ARGV[8…] earlier names of this instance, to be kept alive
-- Answers { 'held' | 'expired' | 'absent' | 'swept', now, instances that live, term, { dead instance, end of its lease, … }, look again at, { place … } }

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function number (value) return string.format('%.0f', value) end
local ends = number(now + tonumber(ARGV[4]))

local lease = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[3]) or '')
local state = 'held'
if redis.call('ZSCORE', KEYS[2], ARGV[3]) then state = 'swept' elseif not lease then state = 'absent' elseif lease < now then state = 'expired' end
local places = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', number(now), 'LIMIT', 0, ARGV[7])
-- After a write that needs no memory Redis lets those through that do, however full it is. None has this name.
if ARGV[5] == '1' or state ~= 'held' or places[1] then redis.call('ZREM', KEYS[1], '') end
if state ~= 'swept' and (state ~= 'held' or ARGV[5] == '1') then redis.call('ZADD', KEYS[1], ends, ARGV[3]) end
for i = 8, #ARGV do
  if not redis.call('ZSCORE', KEYS[2], ARGV[i]) then redis.call('ZADD', KEYS[1], ends, ARGV[i]) end
end

local again = number(now + tonumber(ARGV[6]))
for _, place in ipairs(places) do redis.call('ZADD', KEYS[3], again, place) end
return {
  state, number(now), redis.call('ZCOUNT', KEYS[1], number(now), '+inf'), ARGV[1],
  redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. number(now), 'WITHSCORES', 'LIMIT', 0, 16), again, places
}
