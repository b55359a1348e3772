-- What Redis does for the messages of a turn: their questions, and what became of those before them.  And for a batch
-- of the rebuild.  A contact is one string of entries of 29 bytes:
--   id 8 (never read as a number: Lua's have 53 bits) | time ms 6 | counting 1 | class 1 and channel 1, each a bit
--   | category 4 | subject 4 | state 4: 0 it was sent; ff ff ff ff a commit; else the second, by Redis' clock, at which
--   it was reserved
-- First those that were sent, by time; behind them what is reserved, and commits, as they came: each is a mere APPEND,
-- also what the rebuild reads in a store.  Where that is not enough to tell, or eight have gathered, each commit is put
-- in its place.
-- KEYS: epoch, contacts to look at, contacts to append a commit to.
-- ARGV: 1 epoch ('': whichever is in force); 2 the second by Redis' clock; 3 for each contact to look at: r reserve,
-- p peek, x release; 4 an entry for each contact, whose time is "now"; 5 for each r and p the number of
-- checks (1), how few entries may fill one of them, whatever they are (4), and the checks.  Of these a contact has one.
-- Answers with "1", or "0" and the counts, for each r and p.  -1: another epoch or none is in force, and nothing was
-- done but the commits: they are true in any, and will come again.
-- Tables, closures and redis.call are what costs here; unpacking the same bytes again is cheap.
local call, spread, unpack, byte, sub, find = redis.call, unpack, struct.unpack, string.byte, string.sub, string.find
local clock, acts, entries, checks = tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
for i = #acts + 2, #KEYS do
  local length = call('APPEND', KEYS[i], sub(entries, i * 29 - 57, i * 29 - 29))
  if length == 29 or ARGV[1] == '' then call('EXPIRE', KEYS[i], '3456000') end
end
local got = call('MGET', spread(KEYS, 1, #acts + 1))
if ARGV[1] ~= '' and got[1] ~= ARGV[1] then return -1 end

local function without(s, id)
  local at = find(s, id, 1, true)
  while at and at % 29 ~= 1 do at = find(s, id, at + 1, true) end
  if not at then return s end
  return sub(s, 1, at - 1) .. sub(s, at + 29)
end

-- s with e, by its time
local function with(s, e)
  local time, i = unpack('>I6', e, 9), #s
  while i > 0 and unpack('>I6', s, i - 20) > time do i = i - 29 end
  if i == #s then return s .. e end
  return sub(s, 1, i) .. e .. sub(s, i + 1)
end

-- All of s that was sent, by time, each once: for many commits, which one by one would copy s for each.
local function sorted(s, n)
  local known, order = {}, {}
  for j = 1, #s, 29 do
    local id = sub(s, j, j + 7)
    if (j <= n or byte(s, j + 25) == 255) and not known[id] then
      known[id] = sub(s, j, j + 24) .. '\0\0\0\0'
      order[#order + 1] = sub(s, j + 8, j + 13) .. id
    end
  end
  table.sort(order)
  for j = 1, #order do order[j] = known[sub(order[j], 7)] end
  return table.concat(order)
end

-- Is there room in each of the checks?  And the counts.
local function count(s, first, past, now)
  local room, out = true, ''
  for c = first, past - 1, 36 do
    local since, limit, gap, classes, channels, category, subject, gap_of = unpack('>I6I4I6I4I4I4I4I4', checks, c)
    local n, oldest, latest = 0, 0, 0
    for i = #s - 28, 1, -29 do -- the latest first
      local time, counting, class, channel, cat, subj = unpack('>I6BBBI4I4', s, i + 8)
      if time < since and gap == 0 then break end
      if time >= since and (category == 4294967295 or category == cat)
        and (subject == 4294967295 or subject == subj)
        and ((classes == 0 and counting >= 1) or (counting == 2 and classes % (class + class) >= class))
        and (channels == 0 or channels % (channel + channel) >= channel) then
        n = n + 1
        if n == limit then oldest = time end
      end
      if gap > 0 and gap_of == cat and time > latest then latest = time end
    end
    if n >= limit or (gap > 0 and latest ~= 0 and now - latest < gap) then room = false end
    out = out .. struct.pack('>I4I6I6', n, oldest, latest)
  end
  return room, out
end

-- Is there room for one more because the one that would be too many, whatever it is, is before the window?  The first n
-- bytes are those that were sent.
local function is_room(s, n, first, past, now)
  local behind = #s - n
  for c = first, past - 1, 36 do
    local since, limit, gap = unpack('>I6I4I6', checks, c)
    local most = limit * 29 - behind
    if most <= 0 or (n >= most and unpack('>I6', s, n - most + 9) >= since)
      or (gap > 0 and (behind > 0 or (n > 0 and now - unpack('>I6', s, n - 20) < gap))) then return false end
  end
  return true
end

local answer, past, put = '', 1, nil
for i = 2, #acts + 1 do
  local key, act, at = KEYS[i], byte(acts, i - 1), i * 29 - 57
  local before = put and put[key] or got[i] or ''
  local s, now, n = before, unpack('>I6', entries, at + 8), #before
  local asked, room, first = act == 114 or act == 112, false, past + 5
  if asked then
    local n_checks, least = unpack('>BI4', checks, past)
    past = first + n_checks * 36
    room = act == 114 and n < least * 29
  end

  -- By number alone there is room, mostly.  In what has 40 days to live eight gather, each within a day of the last.
  if room and n > 0 and (n < 232 or byte(s, n - 206) == 0) and now - unpack('>I6', s, n - 20) < 86400000 then
    call('APPEND', key, sub(entries, at, at + 28))
    answer = answer .. '1'
  else
    while n > 0 and byte(s, n - 3) ~= 0 do n = n - 29 end
    if act == 114 and not room then room = is_room(s, n, first, past, now) end
    -- sent: all that were, by time, but the too old; open: what is reserved, for 60 s
    local sent, open, many = s, '', #s - n > 928
    if n < #s then
      sent = many and sorted(s, n) or sub(s, 1, n)
      for j = n + 1, #s, 29 do
        local id = sub(s, j, j + 7)
        if byte(s, j + 25) == 255 then
          if not many then
            if sent ~= '' then sent = without(sent, id) end -- delivered twice, or loaded before
            sent = with(sent, sub(s, j, j + 24) .. '\0\0\0\0')
          end
        elseif clock - unpack('>I4', s, j + 25) < 60 then
          local committed = find(s, id, j + 29, true)
          if not committed or (committed - j) % 29 ~= 0 then open = open .. sub(s, j, j + 28) end
        end
      end
    end
    n = 0
    while n < #sent and unpack('>I6', sent, n + 9) < now - 2764800000 do n = n + 29 end
    if n > 0 then sent = sub(sent, n + 1) end

    local counts = ''
    if asked and not room then
      s = sent
      for j = 1, #open, 29 do s = with(s, sub(open, j, j + 28)) end
      room, counts = count(s, first, past, now)
    end
    if act == 120 then
      local id = sub(entries, at, at + 7)
      sent, open = without(sent, id), without(open, id)
    end
    if act == 114 and room then open = open .. sub(entries, at, at + 28) end
    s = sent .. open
    if not asked then
      put = put or {}
      put[key] = s -- the same contact may come again
    end
    if asked then answer = answer .. (act == 114 and room and '1' or '0' .. counts) end
    if ((act == 112 or (asked and not room)) and not many) or s == before then
      -- nothing to write
    elseif s ~= '' then
      call('SETEX', key, '3456000', s)
    else
      call('DEL', key)
    end
  end
end
return answer
