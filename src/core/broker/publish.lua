-- Publishes messages, in order, each once: answers an earlier publish of the same id, or numbers, stores and sends it. All checks of a message
-- come before its first write, since what a script has done by the time it fails is not undone; and what one message fails with is no matter
-- of the others.
-- KEYS, for each channel: two, see standing.lua; and the answer to each id that its messages have
-- ARGV[1], ARGV[2] see standing.lua; channels may share an epoch's name
-- ARGV[3] ms for which answers are kept
-- ARGV[4...], for each channel:
--   Redis channel; messages kept, 0: none; ms for which they are kept; ms for which the standing of a silent channel is kept; messages, and for
--   each: head of the envelope, version;time;flags;excluded connection; event; its JSON without the first brace; digest of the content where the
--   publish has an id, else ''
-- Answers a line for each: "<0 new | 1 duplicate | 2 conflict> <epoch or ''> <offset or ''>", or "!" and why Redis refused it.
-- Fails where Redis refused to send some of what it has stored.
-- An answer that is kept: "<digest> <epoch or ''> <offset or ''>".

local args, remembered = ARGV, ARGV[3]

-- at: before the arguments of the message   answer: key of the answer to its id
local function publish (channel, size, ttl, kept, at, answer)
  local digest = args[at + 4]
  if answer then
    local known = call('GET', answer)
    if known then
      local content, position = string.match(known, '^(%S+) (.*)$')
      return content == digest and '1 ' .. position or '2  '
    end
  end
  local envelope, position = store(size, ttl, kept, args[at + 1], args[at + 2], args[at + 3])
  if answer then call('SET', answer, digest .. ' ' .. position, 'PX', remembered) end
  gather(channel, envelope)
  return '0 ' .. position
end

local lines, last, at, k = {}, #args, 3, 0
while at < last do
  local channel, size, ttl, kept, count = args[at + 1], args[at + 2], args[at + 3], args[at + 4], tonumber(args[at + 5])
  at = at + 5
  key, log = KEYS[k + 1], KEYS[k + 2]
  k = k + 2
  for _ = 1, count do
    local answer
    if args[at + 4] ~= '' then
      k = k + 1
      answer = KEYS[k]
    end
    local taken, line = pcall(publish, channel, size, ttl, kept, at, answer)
    if not taken then
      local reason = type(line) == 'table' and line.err or tostring(line)
      -- Whoever listens for it must learn that this server is no master.
      if string.find(reason, '^-?READONLY') then return redis.error_reply((string.gsub(reason, '^-', ''))) end
      line = '!' .. string.gsub(reason, '[\r\n]', ' ')
    end
    lines[#lines + 1] = line
    at = at + 4
  end
end
return conclude() or table.concat(lines, '\n')
