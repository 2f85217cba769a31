-- Tells where many channels stand, each as read.lua does, which stands before this as the function read_one (KEYS, ARGV).
-- ARGV[1] term   ARGV[2] ms for which the standing of a silent channel is kept   ARGV[3] first part of all names
-- ARGV[4] a line for each channel: an epoch that was never used, and its key; standings and logs are named as in scripts.ts
-- Answers a line for each: epoch, offset of the last message, offset of the first message kept or '', earlier epochs

local lines = {}
for epoch, channel in string.gmatch(ARGV[4], '(%S+) (%S+)') do
  local base = ARGV[3] .. ':{' .. channel .. '}:'
  local answer = read_one({ base .. 's', base .. 'l' }, { ARGV[1], epoch, '', '0', ARGV[2] })
  lines[#lines + 1] = answer[1] .. ' ' .. answer[2] .. ' ' .. answer[4] .. ' ' .. answer[3]
end
return table.concat(lines, '\n')
