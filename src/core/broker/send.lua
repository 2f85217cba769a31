-- Common to the scripts that send messages; comes after standing.lua, whose channel and ARGV it uses. A message is stored, then gathered with
-- others that are to be sent, and `conclude` is called before the script ends.

-- Most bytes of envelopes that share a payload. As envelope.ts has it.
local MAX_BYTES = 65536
-- Most ms that a log is kept longer than it must be.
local LONGER = 3600000

local call, format = redis.call, string.format

-- Envelopes that are not sent yet, with room for a line before them: their Redis channel, how many, and how long. Why Redis refused to send some.
local pieces, target, count, bytes, unsent = {}, nil, 0, 0, nil

-- Sends the envelopes that wait; see envelope.ts.
local function release ()
  if count == 0 then return end
  local payload = pieces[2]
  if count > 1 then
    local line = '3'
    for i = 2, count + 1 do line = line .. ';' .. #pieces[i] end
    pieces[1] = line .. '\n'
    payload = table.concat(pieces, '', 1, count + 1)
  end
  count, bytes = 0, 0
  local answer = redis.pcall('PUBLISH', target, payload)
  if type(answer) == 'table' then unsent = unsent or answer end
end

-- Has an envelope sent, with those of the same Redis channel that come right before and after it.
local function gather (channel, envelope)
  local length = #envelope
  if channel ~= target or bytes + length > MAX_BYTES then
    release()
    target = channel
  end
  count, bytes = count + 1, bytes + length
  pieces[count + 1] = envelope
end

-- Channels in which this script has numbered, by the key of their standing, and in turn.
local numbered, channels = {}, {}

-- Takes off a log what is too old: entries are in order of time, so the old ones are the first ones.
local function trim (log, ttl)
  local time = call('TIME')
  local oldest = time[1] * 1000 - tonumber(ttl)
  local function old (entry) return tonumber(string.match(entry[2][2], '^[^;]*;(%d+)') or 0) < oldest end
  -- Mostly there is nothing to do.
  local first = call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  if not first or not old(first) then return end
  local keep
  for _, entry in ipairs(call('XRANGE', log, '-', '+', 'COUNT', 64)) do
    if not old(entry) then break end
    keep = tonumber(string.match(entry[1], '^%d+')) + 1
  end
  call('XTRIM', log, 'MINID', format('%d', keep))
end

-- Numbers and stores a message, to be sent in the same script, so that what readers are told and what caused it are one.
-- size: messages kept, '0' for none   ttl: ms for which they are kept   kept: ms for which the standing of a silent channel is kept
-- head: of the envelope, version;time;flags;excluded connection   rest: the message's JSON without the first brace
-- Answers the envelope and "<epoch> <offset>", " " for what is not stored. Where the channel then stands is known to this script alone until
-- `conclude` is called.
local function store (size, ttl, kept, head, event, rest)
  if size == '0' then return head .. ';;;' .. event .. '\n{' .. rest, ' ' end
  local known = numbered[key]
  local epoch, offset
  if known then epoch, offset = known.epoch, known.offset else epoch, offset = current() end
  offset = offset + 1
  local number = format('%d', offset)
  local envelope = head .. ';' .. epoch .. ';' .. number .. ';' .. event .. '\n{"offset":' .. number .. ',' .. rest
  call('XADD', log, 'MAXLEN', size, number, 'm', envelope)
  if known then
    known.offset, known.number, known.ttl, known.kept = offset, number, ttl, kept
  else
    known = { key = key, log = log, epoch = epoch, offset = offset, number = number, ttl = ttl, kept = kept, due = false }
    numbered[key], channels[#channels + 1] = known, known
  end
  known.due = known.due or offset % 16 == 0
  return envelope, epoch .. ' ' .. number
end

-- Has a channel's log and standing kept for as long as they must be from now on, and a little longer, so that there is something to do only now and
-- then. Their times are only ever set together here, so that of the log tells whether that of the standing is right.
local function keep (channel)
  local ttl, left = tonumber(channel.ttl), call('PTTL', channel.log)
  local more = math.min(math.ceil(ttl / 16), LONGER)
  if left >= ttl and left <= ttl + more then return end
  call('PEXPIRE', channel.log, format('%d', ttl + more))
  call('PEXPIRE', channel.key, format('%d', channel.kept + more))
end

-- Writes where channels stand now, once for all messages of each, which can't be refused: before it the script has written to their logs. Then sends
-- what is not sent yet, and takes off what is too old where the last look is 16 messages ago. Answers why Redis refused to send some messages, or
-- nil; the others are sent all the same.
local function conclude ()
  for _, channel in ipairs(channels) do
    call('HSET', channel.key, 's', channel.number)
    keep(channel)
  end
  release()
  for _, channel in ipairs(channels) do
    if channel.due then trim(channel.log, channel.ttl) end
  end
  return unsent
end
