-- Reads a part of a channel's log, together with where the channel stands.
-- KEYS, ARGV[1], ARGV[2]: see standing.lua. Numbers nothing, so it begins an epoch only for a channel that has none.
-- ARGV[3] where reading begins, as a range of a stream has it; '' for nothing but the standing   ARGV[4] entries at most
-- ARGV[5] ms for which the standing of a silent channel is kept
-- ARGV[6] bytes at most, though one entry is always read   ARGV[7] where it ends: '+', or '-' for the way back
-- Answers { epoch, offset of the last message, earlier epochs, offset of the first message kept or '', envelopes as they were read }

-- Entries that are looked at together: what does not fit any more was read in vain, though it does not leave Redis.
local STEP = 16

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
  local command, from, left, bytes = ARGV[7] == '-' and 'XREVRANGE' or 'XRANGE', ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[6])
  while left > 0 do
    local count = math.min(STEP, left)
    local entries = redis.call(command, KEYS[2], from, ARGV[7], 'COUNT', count)
    left = #entries == count and left - count or 0
    for _, entry in ipairs(entries) do
      local envelope = entry[2][2]
      bytes = bytes - #envelope
      if bytes < 0 and #envelopes > 0 then
        left = 0
        break
      end
      envelopes[#envelopes + 1] = envelope
      from = '(' .. entry[1]
    end
  end
end
return { epoch, string.format('%.0f', offset), earlier, first, envelopes }
