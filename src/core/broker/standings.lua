-- Tells where many channels stand, each as read.lua does, which stands before this as the function read_one (KEYS, ARGV).
-- KEYS[2n - 1], KEYS[2n] standing and log of the nth channel, see standing.lua
-- ARGV[1] term   ARGV[2] ms for which the standing of a silent channel is kept   ARGV[2 + n] an epoch that was never used, for the nth
-- Answers what read.lua answers for each

local answers = {}
for n = 1, #KEYS / 2 do
  answers[n] = read_one({ KEYS[2 * n - 1], KEYS[2 * n] }, { ARGV[1], ARGV[2 + n], '', '0', ARGV[2] })
end
return answers
