-- Tells where many channels stand, each as read.lua does, which stands before this as the function read_one (KEYS, ARGV).
-- KEYS[2n - 1], KEYS[2n] standing and log of the nth channel, see standing.lua
-- ARGV[1] term   ARGV[2] ms for which the standing of a silent channel is kept   ARGV[2 + n] an epoch that was never used, for the nth
-- Answers a line for each: epoch, offset of the last message, offset of the first message kept or '', earlier epochs

local lines = {}
for n = 1, #KEYS / 2 do
  local answer = read_one({ KEYS[2 * n - 1], KEYS[2 * n] }, { ARGV[1], ARGV[2 + n], '', '0', ARGV[2] })
  lines[n] = answer[1] .. ' ' .. answer[2] .. ' ' .. answer[4] .. ' ' .. answer[3]
end
return table.concat(lines, '\n')
