-- Reads a part of a channel's log, together with where the channel stands.
-- KEYS, ARGV[1], ARGV[2]: see standing.lua. Numbers nothing, so it begins an epoch only for a channel that has none.
-- ARGV[3] read what comes after this offset; '' for nothing but the standing   ARGV[4] entries at most
-- ARGV[5] ms for which the standing of a silent channel is kept
-- Answers { epoch, offset of the last message, earlier epochs, offset of the first message kept or '', envelopes }

local epoch, offset, _, earlier = standing()
if not epoch then
  -- Readers come even when Redis has no memory left for messages: after a write that needs none, the few bytes of a standing are let through.
  redis.call('DEL', KEYS[2])
  begin()
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  return { ARGV[2], '0', '', '', {} }
end
local first, envelopes = '', {}
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if oldest then first = string.match(oldest[1], '^%d+') end
if ARGV[3] ~= '' and tonumber(ARGV[4]) > 0 then
  for i, entry in ipairs(redis.call('XRANGE', KEYS[2], '(' .. ARGV[3], '+', 'COUNT', ARGV[4])) do envelopes[i] = entry[2][2] end
end
return { epoch, string.format('%.0f', offset), earlier, first, envelopes }
