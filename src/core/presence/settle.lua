-- Gives up a user whose last connection has been lost for the grace. Whether that is so is decided here, whoever asks and how often.
-- KEYS, ARGV[1..10]: see place.lua
-- ARGV[11] user   ARGV[12] grace, ms
-- Answers { 'settled' | 'wait' | 'late', 1 where it was announced }

if late then return { 'late', 0 } end
local place = read(ARGV[11])
if not place or place.count > 0 then return { 'settled', 0 } end
if place.lost + tonumber(ARGV[12]) > now then return { 'wait', 0 } end
return { 'settled', giveUp(ARGV[11], place, 0) }
