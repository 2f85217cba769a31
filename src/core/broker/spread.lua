-- Sends payloads, in order, of messages that are neither numbered nor remembered.
-- ARGV, two for each payload: Redis channel, payload
-- Fails as the first of them did that Redis refused, and sends the others all the same.

local failure
for i = 1, #ARGV, 2 do
  local answer = redis.pcall('PUBLISH', ARGV[i], ARGV[i + 1])
  if type(answer) == 'table' then failure = failure or answer end
end
return failure or 0
