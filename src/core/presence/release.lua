-- Takes places off that were looked at, unless they were noted anew meanwhile.
-- KEYS[1] see tick.lua, its third   ARGV[3] when they were to be looked at again   ARGV[4…] places

for i = 4, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) == ARGV[3] then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
return 'done'
