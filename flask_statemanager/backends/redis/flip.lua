-- Have generations that were built take the place of the present ones, all or none.
-- KEYS: for each shard the generation, the gate, the last revision, the floor, the generations and the builder.
-- ARGV[1] the builder's token, then for each shard: the generation that it was built from, the new one (empty where
-- nothing is to be replaced), the revision that was the last when it was begun, the one that shall be, and the floor.
-- Returns 0; or 1 where somebody has written meanwhile, or has the gate, or the new generation was given up.
local call = redis.call
local FIXED, EACH = 6, 5
local token, shards = ARGV[1], #KEYS / FIXED
for s = 1, shards do
  local base, told = FIXED * (s - 1), 1 + EACH * (s - 1)
  local holder = call('GET', KEYS[base + 2])
  if (call('GET', KEYS[base + 1]) or '0') ~= ARGV[told + 1] or (holder and holder ~= token) then
    return 1
  end
  if ARGV[told + 2] ~= '' then
    local state = call('HGET', KEYS[base + 5], ARGV[told + 2])
    if state ~= 'new' or (call('GET', KEYS[base + 3]) or '0') ~= ARGV[told + 3] then
      return 1
    end
  end
end
for s = 1, shards do
  local base, told = FIXED * (s - 1), 1 + EACH * (s - 1)
  if ARGV[told + 2] ~= '' then
    call('SET', KEYS[base + 1], ARGV[told + 2])
    call('SET', KEYS[base + 3], ARGV[told + 4])
    call('HDEL', KEYS[base + 5], ARGV[told + 2])
    call('HSET', KEYS[base + 5], ARGV[told + 1], 'old')
  end
  if tonumber(ARGV[told + 5]) > tonumber(call('GET', KEYS[base + 4]) or '0') then
    call('SET', KEYS[base + 4], ARGV[told + 5])
  end
  for _, own in ipairs({KEYS[base + 2], KEYS[base + 6]}) do
    if call('GET', own) == token then
      call('DEL', own)
    end
  end
end
return 0
