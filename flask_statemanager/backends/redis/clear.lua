-- Give up a generation that is not the present one, and remove some of it.
-- KEYS[1] the generations, KEYS[2] to KEYS[8] what it holds (Shard.held in keys.py), then records.
-- ARGV[1] the generation, ARGV[2] the most names, then the names of the records.
-- Returns names of records that are left. Where there are none everything else is removed as well.
local call = redis.call
local FIXED = 8
if not call('HGET', KEYS[1], ARGV[1]) then
  return {}
end
-- From here on it can neither be built nor become the present one.
call('HSET', KEYS[1], ARGV[1], 'old')
local names, dead = KEYS[2], KEYS[5]
for i = FIXED + 1, #KEYS do
  local name = ARGV[i - FIXED + 2]
  call('UNLINK', KEYS[i])
  call('ZREM', names, name)
  call('ZREM', dead, name)
end
local left = call('ZRANGE', names, 0, ARGV[2] - 1)
if #left == 0 then
  left = call('ZRANGE', dead, 0, ARGV[2] - 1)
end
if #left == 0 then
  call('UNLINK', unpack(KEYS, 2, FIXED))
  call('HDEL', KEYS[1], ARGV[1])
end
return left
