-- Common to the scripts that send a message; comes after standing.lua, whose channel and ARGV it uses.

-- Channels in which this script has numbered, by the key of their standing, and in turn.
local numbered, channels = {}, {}

-- Numbers, stores and sends a message: in one step, so that what readers are told and what caused it are one.
-- message { channel: Redis channel, head: of the envelope, version;time;flags;excluded connection, event, rest: its JSON without the first
--   brace, size: messages kept, 0 for none, ttl: ms for which they are kept, kept: ms for which the standing of a silent channel is kept }
-- stored (epoch, number): called between storing and sending. Answers epoch and offset, '' for what is not stored.
-- Where the channel then stands is known to this script alone until `conclude` is called, which must be before it ends.
local function send (message, stored)
  local size = tonumber(message.size)
  if size == 0 then
    stored('', '')
    redis.call('PUBLISH', message.channel, message.head .. ';;;' .. message.event .. '\n{' .. message.rest)
    return '', ''
  end
  local channel = numbered[key]
  local epoch, offset
  if channel then epoch, offset = channel.epoch, channel.offset else epoch, offset = current() end
  offset = offset + 1
  local number = string.format('%.0f', offset)
  local envelope = message.head .. ';' .. epoch .. ';' .. number .. ';' .. message.event .. '\n{"offset":' .. number .. ',' .. message.rest
  redis.call('XADD', log, 'MAXLEN', size, number .. '-0', 'm', envelope)
  if not channel then
    channel = { key = key, log = log, epoch = epoch }
    numbered[key], channels[#channels + 1] = channel, channel
  end
  channel.offset, channel.number, channel.ttl, channel.kept = offset, number, message.ttl, message.kept
  stored(epoch, number)
  redis.call('PUBLISH', message.channel, envelope)
  -- By age, now and then: entries are in order of time, so the old ones are the first ones.
  if offset % 16 == 0 then
    local time = redis.call('TIME')
    local oldest = time[1] * 1000 - tonumber(message.ttl)
    local keep
    for _, entry in ipairs(redis.call('XRANGE', log, '-', '+', 'COUNT', 64)) do
      if tonumber(string.match(entry[2][2], '^[^;]*;(%d+)') or 0) >= oldest then break end
      keep = tonumber(string.match(entry[1], '^%d+')) + 1
    end
    if keep then redis.call('XTRIM', log, 'MINID', string.format('%.0f', keep)) end
  end
  return epoch, number
end

-- Writes where channels stand now, once for all messages of each. None of it can be refused: before it the script has written to their logs.
local function conclude ()
  for _, channel in ipairs(channels) do
    redis.call('HSET', channel.key, 's', channel.number)
    redis.call('PEXPIRE', channel.log, channel.ttl)
    redis.call('PEXPIRE', channel.key, channel.kept)
  end
end
