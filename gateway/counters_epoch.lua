-- The epoch: whose sends the contacts' strings hold, and since when they are whole.  Every process runs this twice a
-- second, and again whenever it has something to say.  It is the only place where the state of a rebuild is kept, so
-- that any process may die at any moment.
-- KEYS: epoch, build, seen, members, seen of the format before.
-- ARGV: 1 store, 2 process, 3 run id of the server, 4 keys it evicted, 5 a random id, 6 epoch whose rows this process
-- has loaded, or '', 7 everything of this store before that ms is in them, 8 epoch to give up, or '', 9 ms to wait before
-- a store is read, 10 ms to wait for a store that is away, 11.. stores known.
-- epoch: "id:run id:evicted".  Answers: word, epoch or its id, the store's loaded ms, stores left out, Redis' clock,
-- stores seen.
local call = redis.call
local EPOCH, BUILD, SEEN, MEMBERS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local store, process, run, evicted, drawn, loaded, upto = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function text(ms) return string.format('%.0f', ms) end

call('HSET', SEEN, store, text(now))
local seen, seen_ms, all = {}, {}, call('HGETALL', SEEN)
for i = 1, #all, 2 do
  seen_ms[all[i]] = tonumber(all[i + 1])
  if now - seen_ms[all[i]] < 60000 then seen[#seen + 1] = all[i] else call('HDEL', SEEN, all[i]) end
end
local function answer(word, id, ms, missing) return { word, id, ms, missing, now, unpack(seen) } end

local epoch = call('GET', EPOCH)
if epoch then
  local id, its_run, its_evicted = string.match(epoch, '^(%x+):(%x+):(%d+)$')
  if its_run ~= run or epoch == ARGV[8] or tonumber(evicted) > tonumber(its_evicted) then
    call('DEL', EPOCH, BUILD)
  else
    if loaded == id then call('HSET', MEMBERS, store, upto) end
    return answer('live', epoch, call('HGET', MEMBERS, store) or '', 0)
  end
end

local id = call('HGET', BUILD, 'id')
if not id or call('HGET', BUILD, 'run') ~= run or tonumber(evicted) > tonumber(call('HGET', BUILD, 'evicted')) then
  id = drawn
  call('DEL', BUILD)
  call('HSET', BUILD, 'id', id, 'run', run, 'evicted', evicted, 'began', text(now))
end
-- "of:" store -> "" | process "@" ms: reads its store now | "=" ms: loaded
for i = 11, #ARGV do call('HSETNX', BUILD, 'of:' .. ARGV[i], '') end
call('HSETNX', BUILD, 'of:' .. store, '')
if loaded == id then call('HSET', BUILD, 'of:' .. store, '=' .. upto) end
-- What a Postern of the format before sends is in no epoch of ours, until it is replaced and its store is loaded.
local former = call('HGETALL', KEYS[5])
for i = 1, #former, 2 do
  local ms = tonumber(former[i + 1])
  if now - ms < 60000 and ms > (seen_ms[former[i]] or 0) then
    call('HSET', BUILD, 'began', text(now))
    return answer('older', id, '', 0)
  end
end
local waited = now - tonumber(call('HGET', BUILD, 'began'))
if waited < tonumber(ARGV[9]) then return answer('wait', id, '', 0) end

local mine = call('HGET', BUILD, 'of:' .. store)
if string.sub(mine, 1, 1) ~= '=' then
  local by, since = string.match(mine, '^(.*)@(%d+)$')
  if by and by ~= process and now - tonumber(since) < 5000 then return answer('wait', id, '', 0) end
  call('HSET', BUILD, 'of:' .. store, process .. '@' .. text(now))
  return answer('load', id, '', 0)
end

local fields, missing, have = call('HGETALL', BUILD), 0, {}
for i = 1, #fields, 2 do
  local of = string.match(fields[i], '^of:(.*)$')
  if of and string.sub(fields[i + 1], 1, 1) == '=' then
    have[#have + 1] = of
    have[#have + 1] = string.sub(fields[i + 1], 2)
  elseif of then
    missing = missing + 1
  end
end
if missing > 0 and waited < tonumber(ARGV[10]) then return answer('wait', id, '', missing) end
epoch = id .. ':' .. run .. ':' .. call('HGET', BUILD, 'evicted')
call('DEL', BUILD, MEMBERS)
call('HSET', MEMBERS, unpack(have))
call('SET', EPOCH, epoch)
return answer('live', epoch, string.sub(mine, 2), missing)
