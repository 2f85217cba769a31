-- Common to the scripts that send a message; comes after standing.lua, whose channel and ARGV it uses.

-- Most bytes of envelopes that share a payload. As envelope.ts has it.
local MAX_BYTES = 65536

-- Channels in which this script has numbered, by the key of their standing, and in turn.
local numbered, channels = {}, {}
-- Envelopes that are not sent yet, by Redis channel, and those in turn. Why Redis refused to send some.
local waiting, turns, unsent = {}, {}, nil

-- Sends the envelopes of a Redis channel that wait; see envelope.ts.
local function release (channel)
  local envelopes = waiting[channel]
  local payload = envelopes[1]
  if #envelopes > 1 then
    local lengths = {}
    for i, envelope in ipairs(envelopes) do lengths[i] = #envelope end
    payload = '3;' .. table.concat(lengths, ';') .. '\n' .. table.concat(envelopes)
  end
  local answer = redis.pcall('PUBLISH', channel, payload)
  if type(answer) == 'table' then unsent = unsent or answer end
end

-- Has an envelope sent with others of its Redis channel, after those that came before it.
local function gather (channel, envelope)
  local envelopes = waiting[channel]
  if not envelopes then
    turns[#turns + 1] = channel
  elseif envelopes.bytes + #envelope <= MAX_BYTES then
    envelopes[#envelopes + 1], envelopes.bytes = envelope, envelopes.bytes + #envelope
    return
  else
    release(channel)
  end
  waiting[channel] = { envelope, bytes = #envelope }
end

-- Numbers, stores and sends a message: in one script, so that what readers are told and what caused it are one.
-- message { channel: Redis channel, head: of the envelope, version;time;flags;excluded connection, event, rest: its JSON without the first
--   brace, size: messages kept, 0 for none, ttl: ms for which they are kept, kept: ms for which the standing of a silent channel is kept }
-- stored (epoch, number): called between storing and sending. Answers epoch and offset, '' for what is not stored.
-- Where the channel then stands is known to this script alone, and the message on its way, until `conclude` is called, which must be before it ends.
local function send (message, stored)
  local size = tonumber(message.size)
  if size == 0 then
    stored('', '')
    gather(message.channel, message.head .. ';;;' .. message.event .. '\n{' .. message.rest)
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
  gather(message.channel, envelope)
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

-- Writes where channels stand now, once for all messages of each, which can't be refused: before it the script has written to their logs. Then sends
-- what is not sent yet. Answers why Redis refused to send some messages, or nil; the others are sent all the same.
local function conclude ()
  for _, channel in ipairs(channels) do
    redis.call('HSET', channel.key, 's', channel.number)
    redis.call('PEXPIRE', channel.log, channel.ttl)
    redis.call('PEXPIRE', channel.key, channel.kept)
  end
  for _, channel in ipairs(turns) do release(channel) end
  return unsent
end
