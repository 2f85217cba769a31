-- Takes steps of many connections, in order: enter.lua, exit.lua and settle.lua say what each does. What one fails with is no matter of the others.
-- KEYS[1] set of the entries of an instance: what is on it is swept when the instance is dead
-- KEYS[2] sorted set of places that users may have left, see tick.lua
-- ARGV[1], ARGV[2] see standing.lua; channels may share an epoch's name
-- ARGV[3] Redis time after which this does nothing, since whoever sent it has given it up   ARGV[4] instance of those who enter   ARGV[5] grace, ms
-- ARGV[6] ms after which places are looked at that users are lost from   ARGV[7] first part of all names   ARGV[8] the steps
-- ARGV[9...] entries to be taken off the list
-- A step is a line of fields, each with a tab behind it:
--   1 what   2 'o' for a user's own place, else 'c'   3 key of the channel   4 event that is announced, '' for nothing   5 head, 6 JSON without the
--   first brace, 7 messages kept, 8 ms for which they are kept, 9 ms for which the standing of a silent channel is kept   10... what the step takes
-- Answers 'late', or 'done' and a line for each step: what it says, or "!" and why Redis refused it. Fails where Redis
--   refused to send some of what was announced.

if now > tonumber(ARGV[3]) then return 'late' end

local prefix = ARGV[7]

local function reasonOf (failure)
  local reason = type(failure) == 'table' and failure.err or tostring(failure)
  return (string.gsub(reason, '[\r\n]', ' '))
end

-- Why a command was refused, or nil.
local function refusal (...)
  local answer = redis.pcall(...)
  return type(answer) == 'table' and answer.err and reasonOf(answer) or nil
end

-- Entries of those who enter, and places of those who are lost, with when to look. Named as in scripts.ts (`joined`).
local steps, on, noted = {}, {}, {}
local due = number(now + tonumber(ARGV[6]))
for line in string.gmatch(ARGV[8], '[^\n]+') do
  local step = {}
  for field in string.gmatch(line, '([^\t]*)\t') do step[#step + 1] = field end
  steps[#steps + 1] = step
  local name = step[2] .. step[3] .. '\n'
  if step[1] == 'enter' then
    on[#on + 1] = name .. step[10]
  elseif step[1] == 'exit' and step[11] == 'lost' then
    noted[#noted + 1] = due
    noted[#noted + 1] = name .. step[14]
  end
end

-- On the list before they are made, and off it after they are gone. First of all: after a write that needs no memory Redis would let those in
-- that it has none for.
local unlisted = on[1] and refusal('SADD', KEYS[1], unpack(on))
-- Before what makes users leave, and after such a write, since they leave however full Redis is. No place has this name.
local unnoted = noted[1] and (refusal('ZREM', KEYS[2], '') or refusal('ZADD', KEYS[2], unpack(noted)))
if ARGV[9] then redis.call('SREM', KEYS[1], unpack(ARGV, 9)) end

local acts = { enter = enter, exit = exit, settle = settle }

-- Keys are named as in scripts.ts.
local function take (step)
  local what, own, base = step[1], step[2] == 'o', prefix .. ':{' .. step[3] .. '}:'
  connections, users, seen, message = base .. (own and 'oc' or 'c'), base .. (own and 'ou' or 'u'), own and base .. 'seen', nil
  if step[4] ~= '' then
    key, log = base .. 's', base .. 'l'
    message = { event = step[4], channel = prefix .. ':m:' .. step[3], head = step[5], rest = step[6], size = step[7], ttl = step[8], kept = step[9] }
  end
  if what == 'enter' and unlisted then error({ err = unlisted }) end
  if what == 'exit' and unnoted and step[11] == 'lost' then error({ err = unnoted }) end
  return acts[what](unpack(step, 10))
end

local lines = { 'done' }
for _, step in ipairs(steps) do
  local taken, line = pcall(take, step)
  if not taken then
    local reason = reasonOf(line)
    -- Whoever listens for it must learn that this server is no master.
    if string.find(reason, '^-?READONLY') then return redis.error_reply((string.gsub(reason, '^-', ''))) end
    line = '!' .. reason
  end
  lines[#lines + 1] = line
end
return conclude() or table.concat(lines, '\n')
