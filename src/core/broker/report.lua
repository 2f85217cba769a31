-- Takes what an instance knows of a channel: that a message was acknowledged at a position. Where Redis has lost that message and nobody has
-- said so yet, the present epoch ends, marked, so that whoever counts in it or in an earlier one is told.
-- KEYS, ARGV[1], ARGV[2]: see standing.lua   KEYS[3] a key that is never there
-- ARGV[3] epoch   ARGV[4] offset   ARGV[5] ms for which the standing of a silent channel is kept
-- Answers { 1 a loss that was not known | 0, epoch, offset of the last message }

local claimed, reached = ARGV[3], tonumber(ARGV[4])
local epoch, offset, term, earlier = standing()

-- Whether the log has the message or says that it is lost; nil for an epoch that it has never heard of.
local accounted
if claimed == epoch then accounted = reached <= offset end
-- Whether whoever counts in the present epoch came to it after the losses of epochs that are unknown, or was told as it came: it began in this
-- term, and by a report.
local told = earlier ~= '' and term == ARGV[1]
local marked, newest = false, true
for name, fork, mark in string.gmatch(earlier, '([^:,]+):(%d*)(!?)') do
  marked = marked or mark == '!'
  if newest and fork ~= '' then
    newest = false
    told = told and marked
  end
  -- What is marked after it tells those who were in it, too.
  if name == claimed then accounted = marked or fork == '' or reached <= tonumber(fork) end
end
if accounted then return { 0, epoch, string.format('%.0f', offset) } end

-- After a write that needs no memory Redis lets those through that do, however full it is.
redis.call('DEL', KEYS[3])
if not epoch then
  epoch, offset, earlier = current()
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
elseif accounted == false or not told then
  epoch, offset, earlier = follow(epoch, offset, earlier, '!')
end
if accounted == nil then redis.call('HSET', KEYS[1], 'f', with(claimed .. ':', earlier)) end
return { 1, epoch, string.format('%.0f', offset) }
