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

local epoch, number = send({
  channel = ARGV[3], head = ARGV[4], event = ARGV[5], rest = ARGV[6], size = ARGV[7], ttl = ARGV[8], kept = ARGV[11]
}, remember)
return { 0, epoch, number }
