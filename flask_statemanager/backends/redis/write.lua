-- Store changes, all or none, each over the version that it was decided on.
-- KEYS: the eleven of each shard (Shard.written in keys.py), then the record of each change.
-- ARGV[1] a token for the gate; ARGV[2] the number of shards; for each its generation, the revision that was the last
-- when its records were read ('-' for whichever), and about how long its log may grow; then for each change: shard,
-- name, version before, the record before or its digest ('-' for whichever), version, the rest of the record, when it is
-- due, when it died (both may be empty), and what else the log is told.
-- Returns {0, revisions...}; {1, shard, generation} for another generation; {2, shard} where the shard was written to;
-- {3, change, version} where another version is stored; {4, change} for what is no record; {5} while somebody else has
-- the gate. Everything is compared before anything is written: Redis undoes nothing.
local call = redis.call
local FIXED, SHARD, CHANGE = 11, 3, 9
local token, shards = ARGV[1], tonumber(ARGV[2])
local changes = #KEYS - FIXED * shards

local function whole(number)
  return string.format('%.0f', number)
end

local function read(text)
  local version, flags, size = string.match(text, '^(%d+) %d+ (%a*%-?) (%d+) ')
  return version, flags, tonumber(size)
end

local function has(flags, flag)
  return string.find(flags, flag, 1, true) ~= nil
end

for s = 1, shards do
  local base, told = FIXED * (s - 1), 2 + SHARD * (s - 1)
  local generation = call('GET', KEYS[base + 1]) or '0'
  if generation ~= ARGV[told + 1] then
    return {1, s, generation}
  end
  local holder = call('GET', KEYS[base + 2])
  if holder and holder ~= token then
    return {5}
  end
  if ARGV[told + 2] ~= '-' and (call('GET', KEYS[base + 3]) or '0') ~= ARGV[told + 2] then
    return {2, s}
  end
end

local texts, versions = {}, {}
for c = 1, changes do
  local key, told = KEYS[FIXED * shards + c], 2 + SHARD * shards + CHANGE * (c - 1)
  local actual = versions[key]
  if not actual then
    local text = call('GET', key)
    if text then
      actual = read(text)
      if not actual then
        return {4, c}
      end
    else
      actual = call('GET', KEYS[FIXED * (ARGV[told + 1] - 1) + 4]) or '0'
    end
    local believed = ARGV[told + 4]
    if believed ~= '-' and believed ~= text and (not text or redis.sha1hex(text) ~= believed) then
      return {3, c, actual}
    end
    texts[key] = text
  end
  if actual ~= ARGV[told + 3] then
    return {3, c, actual}
  end
  versions[key] = ARGV[told + 5]
end

local function count(base, name, before, after, live, lives)
  local sums, heads = KEYS[base + 9], KEYS[base + 10]
  local bytes = (lives and after.size or 0) - (live and before.size or 0)
  local noted = (lives and has(after.flags, 'm') and 1 or 0) - (live and has(before.flags, 'm') and 1 or 0)
  if bytes ~= 0 then
    call('HINCRBY', sums, 'bytes', whole(bytes))
  end
  if noted ~= 0 then
    call('HINCRBY', sums, 'metadata', noted)
  end
  if live ~= lives then
    local head = string.match(name, '^[^:]*:') or ''
    if call('HINCRBY', heads, head, lives and 1 or -1) == 0 then
      call('HDEL', heads, head)
    end
    call(lives and 'ZADD' or 'ZREM', KEYS[base + 5], unpack(lives and {0, name} or {name}))
  end
end

local drawn = {0}
for c = 1, changes do
  local key, told = KEYS[FIXED * shards + c], 2 + SHARD * shards + CHANGE * (c - 1)
  local base, name = FIXED * (ARGV[told + 1] - 1), ARGV[told + 2]
  local due, died = ARGV[told + 7], ARGV[told + 8]
  local before, after = {flags = '-', size = 0}, {}
  local text = texts[key]
  if text then
    before.flags, before.size = select(2, read(text))
  end
  local live = text and not has(before.flags, 'd') or false
  local revision = whole(call('INCR', KEYS[base + 3]))
  local record = ARGV[told + 5] .. ' ' .. revision .. ' ' .. ARGV[told + 6]
  local entry = {'n', name, 't', ARGV[told + 9], 'a', record}
  if live then
    entry[7], entry[8] = 'b', text
  end
  local length = ARGV[2 + SHARD * (ARGV[told + 1] - 1) + 3]
  call('XADD', KEYS[base + 11], 'MAXLEN', '~', length, revision .. '-0', unpack(entry))
  call('SET', key, record)
  after.flags, after.size = select(2, read(record))
  count(base, name, before, after, live, not has(after.flags, 'd'))
  if due ~= '' then
    call('ZADD', KEYS[base + 6], due, name)
    call('ZADD', KEYS[base + 7], due, name)
  elseif has(before.flags, 'e') then
    call('ZREM', KEYS[base + 6], name)
    call('ZREM', KEYS[base + 7], name)
  end
  if died ~= '' then
    call('ZADD', KEYS[base + 8], died, name)
  elseif has(before.flags, 'd') then
    call('ZREM', KEYS[base + 8], name)
  end
  texts[key] = record
  drawn[c + 1] = revision
end

for s = 1, shards do
  if token ~= '-' then
    call('DEL', KEYS[FIXED * (s - 1) + 2])
  end
end
return drawn
