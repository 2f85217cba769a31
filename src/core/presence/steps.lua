-- Takes steps of many connections, in order: enter.lua, exit.lua and settle.lua say what each does. What one fails with is no matter of the others.
-- KEYS[1] set of the entries of an instance: what is on it is swept when the instance is dead
-- KEYS[2] sorted set of places that users may have left, see tick.lua
-- KEYS[3...] for each step: connections, users; when the user was last seen, of an own place; standing and log, where something is announced
-- ARGV[1], ARGV[2] see standing.lua; channels may share an epoch's name
-- ARGV[3] Redis time after which this does nothing, since whoever sent it has given it up   ARGV[4] instance of those who enter   ARGV[5] grace, ms
-- ARGV[6] ms after which places are looked at   ARGV[7], ARGV[8], ARGV[9] how many entries are put on the list, places noted, and entries taken off
-- ARGV[10...] these, and then for each step: what, 'own' or '', event that is announced, '' for nothing, then for one Redis channel, head, JSON
--   without the first brace, messages kept, ms for which they are kept, ms for which the standing of a silent channel is kept; what the step takes
-- Answers 'late', or 'done' and a line for each step: what it says, or "!" and why Redis refused it.

if now > tonumber(ARGV[3]) then return 'late' end

local function reasonOf (failure)
  local reason = type(failure) == 'table' and failure.err or tostring(failure)
  return (string.gsub(reason, '[\r\n]', ' '))
end

local at = 10

-- The next arguments, as many as ARGV[which] says; nil for none.
local function list (which)
  local first = at
  at = at + tonumber(ARGV[which])
  if at > first then return { unpack(ARGV, first, at - 1) } end
end

-- Why a command was refused, or nil.
local function refusal (...)
  local answer = redis.pcall(...)
  return type(answer) == 'table' and answer.err and reasonOf(answer) or nil
end

-- On the list before they are made, and off it after they are gone. In this order: after a write that needs no memory Redis would let those in
-- that it has none for.
local on, noted, off = list(7), list(8), list(9)
local unlisted = on and refusal('SADD', KEYS[1], unpack(on))
-- Before what makes users leave.
local unnoted
if noted then
  local due, entries = number(now + tonumber(ARGV[6])), {}
  for _, place in ipairs(noted) do
    entries[#entries + 1] = due
    entries[#entries + 1] = place
  end
  unnoted = refusal('ZADD', KEYS[2], unpack(entries))
end
if off then redis.call('SREM', KEYS[1], unpack(off)) end

local TAKES = { enter = 7, exit = 4, settle = 1 }
local acts = { enter = enter, exit = exit, settle = settle }
local k = 3

local function step ()
  local what, own, event = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  at = at + 3
  connections, users, seen, message = KEYS[k], KEYS[k + 1], nil, nil
  k = k + 2
  if own == 'own' then
    seen = KEYS[k]
    k = k + 1
  end
  if event ~= '' then
    key, log = KEYS[k], KEYS[k + 1]
    message = { event = event, channel = ARGV[at], head = ARGV[at + 1], rest = ARGV[at + 2], size = ARGV[at + 3], ttl = ARGV[at + 4], kept = ARGV[at + 5] }
    k = k + 2
    at = at + 6
  end
  local first = at
  at = at + TAKES[what]
  if what == 'enter' and unlisted then error({ err = unlisted }) end
  if what == 'exit' and unnoted and ARGV[first + 1] == 'lost' then error({ err = unnoted }) end
  return acts[what](unpack(ARGV, first, at - 1))
end

local lines = { 'done' }
while at <= #ARGV do
  local taken, line = pcall(step)
  if not taken then
    local reason = reasonOf(line)
    -- Whoever listens for it must learn that this server is no master.
    if string.find(reason, '^-?READONLY') then return redis.error_reply((string.gsub(reason, '^-', ''))) end
    line = '!' .. reason
  end
  lines[#lines + 1] = line
end
conclude()
return table.concat(lines, '\n')
