-- Keeps the list of an instance's entries: what is on it is swept when the instance is dead. Something is put on it before the entry is
-- made, and taken off after it is gone.
-- KEYS[1] set of entries   ARGV[3] see place.lua   ARGV[4] how many are taken off   ARGV[5…] these, then those that are put on
-- Answers 'done' | 'late'

local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[3]) then return 'late' end
local off = tonumber(ARGV[4])
for i = 5, #ARGV do redis.call(i < 5 + off and 'SREM' or 'SADD', KEYS[1], ARGV[i]) end
return 'done'
