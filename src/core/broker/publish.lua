-- Publishes once: answers an earlier publish of the same id, or numbers, stores and sends a message. All checks come before the
-- first write, since a script that fails half-way is not undone.
-- KEYS, ARGV[1], ARGV[2]: see standing.lua
-- KEYS[3] the answer to this id, or the log again where there is no id
-- ARGV[3] Redis channel            ARGV[4] head of the envelope: version;time;flags;excluded connection
-- ARGV[5] event                    ARGV[6] the message's JSON without its first brace
-- ARGV[7] messages kept, 0: none   ARGV[8] ms for which they are kept
-- ARGV[9] digest of the content where the publish has an id, else ''
-- ARGV[10] ms for which answers are kept   ARGV[11] ms for which the standing of a silent channel is kept
-- Answers { 0 new | 1 duplicate | 2 conflict, epoch or '', offset or '' }

local digest = ARGV[9]
if digest ~= '' then
  local answer = redis.call('HMGET', KEYS[3], 'd', 'e', 's')
  if answer[1] then
    if answer[1] ~= digest then return { 2, '', '' } end
    return { 1, answer[2], answer[3] }
  end
end

local function remember (epoch, number)
  if digest == '' then return end
  redis.call('HSET', KEYS[3], 'd', digest, 'e', epoch, 's', number)
  redis.call('PEXPIRE', KEYS[3], ARGV[10])
end

local size = tonumber(ARGV[7])
local epoch, number = '', ''
if size > 0 then
  local offset
  epoch, offset = current()
  offset = offset + 1
  number = string.format('%.0f', offset)
  local envelope = ARGV[4] .. ';' .. epoch .. ';' .. number .. ';' .. ARGV[5] .. '\n{"offset":' .. number .. ',' .. ARGV[6]
  redis.call('XADD', KEYS[2], 'MAXLEN', size, number .. '-0', 'm', envelope)
  redis.call('HSET', KEYS[1], 's', number)
  redis.call('PEXPIRE', KEYS[2], ARGV[8])
  redis.call('PEXPIRE', KEYS[1], ARGV[11])
  remember(epoch, number)
  redis.call('PUBLISH', ARGV[3], envelope)
  -- By age, now and then: entries are in order of time, so the old ones are the first ones.
  if offset % 16 == 0 then
    local time = redis.call('TIME')
    local oldest = time[1] * 1000 - tonumber(ARGV[8])
    local keep
    for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 64)) do
      if tonumber(string.match(entry[2][2], '^[^;]*;(%d+)') or 0) >= oldest then break end
      keep = tonumber(string.match(entry[1], '^%d+')) + 1
    end
    if keep then redis.call('XTRIM', KEYS[2], 'MINID', string.format('%.0f', keep)) end
  end
else
  remember('', '')
  redis.call('PUBLISH', ARGV[3], ARGV[4] .. ';;;' .. ARGV[5] .. '\n{' .. ARGV[6])
end
return { 0, epoch, number }
