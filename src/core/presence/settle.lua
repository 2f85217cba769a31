-- Gives up a user whose last connection has been lost for the grace. Whether that is so is decided here, whoever asks and how often.
-- Answers 'settled' or 'wait', and 1 where it was announced.
local function settle (user)
  local place = read(user)
  if not place or place.count > 0 then return 'settled 0' end
  if place.lost + grace > now then return 'wait 0' end
  return 'settled ' .. giveUp(user, place, 0)
end
