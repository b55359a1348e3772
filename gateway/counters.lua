-- What Redis does for one message, for a turn's commits, and for a batch of the rebuild.  A contact is one string of
-- entries of 31 bytes, ordered by time:
--   id 8 (never read as a number: Lua's have 53 bits) | time ms 6 | reserved at ms 6, by Redis' clock; 0: sent
--   | counting 1 | class 1 and channel 1, each a bit | category 4 | subject 4
-- KEYS: epoch, contacts.  ARGV: what to do, epoch, entries, and checks or what to do with each entry.  -1: another
-- epoch or none is in force, and nothing was done.  The entry's own time is "now".
-- Tables, closures and redis.call are what costs here (a table of a few numbers as much as two calls); unpacking the
-- same bytes again is cheap.
local call, spread, unpack, sub = redis.call, unpack, struct.unpack, string.sub
local act, entry = ARGV[1], ARGV[3]

if act == 'reserve' or act == 'peek' then
  local got = call('MGET', KEYS[1], KEYS[2])
  if got[1] ~= ARGV[2] then return -1 end
  local s = got[2] or ''
  local clock = call('TIME')
  local redis_ms = clock[1] * 1000 + (clock[2] - clock[2] % 1000) / 1000
  local now = unpack('>I6', entry, 9)
  for i = #s - 30, 1, -31 do -- what is too old to count, or was reserved and neither committed nor released
    local time, reserved = unpack('>I6I6', s, i + 8)
    if (reserved > 0 and redis_ms - reserved >= 60000) or time < now - 2764800000 then
      s = sub(s, 1, i - 1) .. sub(s, i + 31)
    end
  end
  local checks, telling, out = ARGV[4], act == 'peek', ''
  for pass = 1, 2 do
    local fits = true
    for c = 1, #checks, 36 do
      local since, limit, classes, channels, category, subject, gap, gap_of = unpack('>I6I4I4I4I4I4I6I4', checks, c)
      local count, oldest, latest = 0, 0, 0
      for i = #s - 30, 1, -31 do -- the latest first
        local time, _, counting, class, channel, cat, subj = unpack('>I6I6BBBI4I4', s, i + 8)
        if time < since and gap == 0 then break end
        if time >= since and (category == 4294967295 or category == cat)
          and (subject == 4294967295 or subject == subj)
          and ((classes == 0 and counting >= 1) or (counting == 2 and classes % (class + class) >= class))
          and (channels == 0 or channels % (channel + channel) >= channel) then
          count = count + 1
          if count == limit then oldest = time end
        end
        if gap > 0 and gap_of == cat and time > latest then latest = time end
      end
      if count >= limit or (gap > 0 and latest ~= 0 and now - latest < gap) then fits = false end
      if telling then out = out .. struct.pack('>I4I6I6', count, oldest, latest) end
    end
    if telling then return out end
    if fits then break end
    telling = true
  end
  entry = sub(entry, 1, 14) .. struct.pack('>I6', redis_ms) .. sub(entry, 21)
  local at = #s
  while at > 0 and unpack('>I6', s, at - 22) > now do at = at - 31 end
  s = at == #s and s .. entry or sub(s, 1, at) .. entry .. sub(s, at + 1)
  call('SETEX', KEYS[2], '2851200', s)
  return 1
end

-- s without the entry of that id
local function without(s, id)
  local at = string.find(s, id, 1, true)
  while at and at % 31 ~= 1 do at = string.find(s, id, at + 1, true) end
  if not at then return s end
  return sub(s, 1, at - 1) .. sub(s, at + 31)
end

local function with(s, e)
  local time = unpack('>I6', e, 9)
  local i = #s
  while i > 0 and unpack('>I6', s, i - 22) > time do i = i - 31 end
  if i == #s then return s .. e end
  return sub(s, 1, i) .. e .. sub(s, i + 1)
end

-- "settle": an entry for each key, and for each "c" (it was sent) or "r" (it was not).  "load", the rebuild: all were
-- sent, whichever epoch is in force.
local acts, got, put = ARGV[4], call('MGET', spread(KEYS)), {}
if act == 'settle' and got[1] ~= ARGV[2] then return -1 end
for i = 2, #KEYS do
  local key, e = KEYS[i], sub(entry, i * 31 - 61, i * 31 - 31)
  local before = put[key] or got[i] or ''
  local s = without(before, sub(e, 1, 8))
  if act == 'load' or sub(acts, i - 1, i - 1) == 'c' then s = with(s, e) end
  put[key] = s -- the same contact may come again
  if s == '' and before ~= '' then call('DEL', key) elseif s ~= before then call('SETEX', key, '2851200', s) end
end
return 1
