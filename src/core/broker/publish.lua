-- Publishes messages, in order, each once: answers an earlier publish of the same id, or numbers, stores and sends it. All checks of a message
-- come before its first write, since what a script has done by the time it fails is not undone; and what one message fails with is no matter
-- of the others.
-- KEYS, three for each message: see standing.lua, and the answer to its id, or the log again where there is no id
-- ARGV[1], ARGV[2] see standing.lua; channels may share an epoch's name
-- ARGV[3] ms for which answers are kept   ARGV[4] ms for which the standing of a silent channel is kept, at least
-- ARGV[5...], seven for each message:
--   Redis channel; head of the envelope: version;time;flags;excluded connection; event; the message's JSON without its first brace;
--   messages kept, 0: none; ms for which they are kept; digest of the content where the publish has an id, else ''
-- Answers a line for each: "<0 new | 1 duplicate | 2 conflict> <epoch or ''> <offset or ''>", or "!" and why Redis refused it.
-- Fails where Redis refused to send some of what it has stored.
-- An answer that is kept: "<digest> <epoch or ''> <offset or ''>".

local FIELDS = 7

local function publish (i)
  local answer, at = KEYS[3 * i], 4 + (i - 1) * FIELDS
  local digest, ttl = ARGV[at + 7], ARGV[at + 6]
  key, log = KEYS[3 * i - 2], KEYS[3 * i - 1]
  if digest ~= '' then
    local known = redis.call('GET', answer)
    if known then
      local content, position = string.match(known, '^(%S+) (.*)$')
      return content == digest and '1 ' .. position or '2  '
    end
  end
  local epoch, number = send({
    channel = ARGV[at + 1], head = ARGV[at + 2], event = ARGV[at + 3], rest = ARGV[at + 4], size = ARGV[at + 5], ttl = ttl,
    kept = math.max(tonumber(ARGV[4]), tonumber(ttl))
  }, function (epoch, number)
    if digest ~= '' then redis.call('SET', answer, digest .. ' ' .. epoch .. ' ' .. number, 'PX', ARGV[3]) end
  end)
  return '0 ' .. epoch .. ' ' .. number
end

local answers = {}
for i = 1, #KEYS / 3 do
  local taken, answer = pcall(publish, i)
  if not taken then
    local reason = type(answer) == 'table' and answer.err or tostring(answer)
    -- Whoever listens for it must learn that this server is no master.
    if string.find(reason, '^-?READONLY') then return redis.error_reply((string.gsub(reason, '^-', ''))) end
    answer = '!' .. string.gsub(reason, '[\r\n]', ' ')
  end
  answers[i] = answer
end
return conclude() or table.concat(answers, '\n')
