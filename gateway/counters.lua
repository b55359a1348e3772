-- What Redis does for one message, and for a batch of the rebuild.  A contact is one string of entries of 30 bytes,
-- ordered by time:
--   id 8 (never read as a number: Lua's have 53 bits) | time ms 6 | reserved at ms 6, by Redis' clock; 0: sent
--   | counting 1 | class and channel 1 | category 4 | subject 4
-- KEYS: epoch, contacts.  ARGV: what to do, epoch, entries, checks.  -1: another epoch or none is in force; nothing
-- was done.  The entry's own time is "now".
local call, unpack, pack, sub = redis.call, struct.unpack, struct.pack, string.sub
local act, entry = ARGV[1], ARGV[3]
local KEEP_MS, LIFE_MS, TTL_S = 2764800000, 60000, '2851200'

-- s without the entry of that id
local function without(s, id)
  local at = string.find(s, id, 1, true)
  while at and at % 30 ~= 1 do at = string.find(s, id, at + 1, true) end
  if not at then return s end
  return sub(s, 1, at - 1) .. sub(s, at + 30)
end

local function with(s, e)
  local time = unpack('>I6', e, 9)
  local i = #s
  while i > 0 and unpack('>I6', s, i - 21) > time do i = i - 30 end
  if i == #s then return s .. e end
  return sub(s, 1, i) .. e .. sub(s, i + 1)
end

if act == 'load' then -- the rebuild: an entry for each key; whichever epoch is in force, they were sent
  for i = 2, #KEYS do
    local e = sub(entry, i * 30 - 59, i * 30 - 30)
    local s = call('GET', KEYS[i])
    call('SETEX', KEYS[i], TTL_S, s and with(without(s, sub(e, 1, 8)), e) or e)
  end
  return 1
end

local got = call('MGET', KEYS[1], KEYS[2])
if got[1] ~= ARGV[2] then return -1 end
local s = got[2] or ''

if act == 'commit' then
  call('SETEX', KEYS[2], TTL_S, with(without(s, sub(entry, 1, 8)), entry))
  return 1
end
if act == 'release' then
  local left = without(s, sub(entry, 1, 8))
  if left == '' then call('DEL', KEYS[2]) elseif #left ~= #s then call('SETEX', KEYS[2], TTL_S, left) end
  return 1
end

-- reserve, or peek: count every check
local clock = call('TIME')
local redis_ms = clock[1] * 1000 + (clock[2] - clock[2] % 1000) / 1000
local now = unpack('>I6', entry, 9)
local checks = ARGV[4]
local n = #checks / 36
local since, limit, classes, channels, category, subject, gap, gap_of = {}, {}, {}, {}, {}, {}, {}, {}
local count, oldest, latest = {}, {}, {}
for c = 1, n do
  since[c], limit[c], classes[c], channels[c], category[c], subject[c], gap[c], gap_of[c] =
    unpack('>I6I4I4I4I4I4I6I4', checks, c * 36 - 35)
  count[c], oldest[c], latest[c] = 0, 0, 0
end
for i = #s - 29, 1, -30 do -- the latest first
  local time, reserved, counting, where, cat, subj = unpack('>I6I6BBI4I4', s, i + 8)
  if time < now - KEEP_MS or (reserved > 0 and redis_ms - reserved >= LIFE_MS) then
    s = sub(s, 1, i - 1) .. sub(s, i + 30)
  else
    local channel = where % 16
    local class_bit, channel_bit = 2 ^ ((where - channel) / 16), 2 ^ channel
    for c = 1, n do
      local of_class, of_channel = classes[c], channels[c]
      if time >= since[c] and (category[c] == 4294967295 or category[c] == cat)
        and (subject[c] == 4294967295 or subject[c] == subj)
        and ((of_class == 0 and counting >= 1) or (counting == 2 and of_class % (class_bit + class_bit) >= class_bit))
        and (of_channel == 0 or of_channel % (channel_bit + channel_bit) >= channel_bit) then
        count[c] = count[c] + 1
        if count[c] == limit[c] then oldest[c] = time end
      end
      if gap[c] > 0 and gap_of[c] == cat and time > latest[c] then latest[c] = time end
    end
  end
end
if act == 'reserve' then
  local fits = true
  for c = 1, n do
    if count[c] >= limit[c] or (gap[c] > 0 and latest[c] ~= 0 and now - latest[c] < gap[c]) then fits = false end
  end
  if fits then
    call('SETEX', KEYS[2], TTL_S, with(s, sub(entry, 1, 14) .. pack('>I6', redis_ms) .. sub(entry, 21)))
    return 1
  end
end
local out = {}
for c = 1, n do out[c] = pack('>I4I6I6', count[c], oldest[c], latest[c]) end
return table.concat(out)
