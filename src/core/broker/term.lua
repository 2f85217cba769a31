-- Names the term of the Redis that runs this: from the moment it is the one that is written to, until another is.
-- KEYS[1] term: hash { r: run id of the Redis that was last written to, t: its term, w: what no two writings of this have in common }
-- ARGV[1] run id of the Redis that runs this   ARGV[2] a term that was never used
-- ARGV[3] the term that the caller knows of this very Redis; '' for none
-- Answers { term, w }. While w is the same, Redis has lost nothing.
--
-- A run id alone does not tell a Redis that has led all the time from one that followed another meanwhile, and lost on the way what the other
-- did not have. The other left its own name here, and it came back with the rest. A name that was lost with everything else is put back.

local known = redis.call('HMGET', KEYS[1], 'r', 't', 'w')
if known[1] == ARGV[1] then return { known[2], known[3] or '' } end
local term = ARGV[2]
if not known[1] and ARGV[3] ~= '' then term = ARGV[3] end
-- After a write that needs no memory Redis lets this one through, however full it is.
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'r', ARGV[1], 't', term, 'w', ARGV[2])
return { term, ARGV[2] }
