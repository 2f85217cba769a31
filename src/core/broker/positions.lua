-- Tells where many channels stand, and changes nothing.
-- ARGV[1] first part of all names   ARGV[2] a key in each line; standings are named as in scripts.ts
-- Answers a line for each: epoch, and offset of the last message; an empty one where no message is known.

local lines = {}
for channel in string.gmatch(ARGV[2], '%S+') do
  local known = redis.call('HMGET', ARGV[1] .. ':{' .. channel .. '}:s', 'e', 's')
  lines[#lines + 1] = known[1] and known[1] .. ' ' .. (known[2] or '0') or ''
end
return table.concat(lines, '\n')
