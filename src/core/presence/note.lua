-- Notes places that users may have left, to be looked at after a while. Comes before what makes them leave.
-- KEYS[1] see tick.lua, its third   ARGV[3] ms   ARGV[4…] places

local time = redis.call('TIME')
local due = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[3]))
for i = 4, #ARGV do redis.call('ZADD', KEYS[1], due, ARGV[i]) end
return 'done'
