-- Claim what is due: whoever gets a name has it to himself until a moment, unless it is written meanwhile.
-- KEYS[1] the generation, KEYS[2] the live records that expire, by when a sweeper is to look at them.
-- ARGV[1] the generation that was believed in, ARGV[2] now, ARGV[3] until when, then the names.
-- Returns {0, names...} or {1, generation}.
local generation = redis.call('GET', KEYS[1]) or '0'
if generation ~= ARGV[1] then
  return {1, generation}
end
local claimed = {0}
for i = 4, #ARGV do
  local at = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if at and tonumber(at) <= tonumber(ARGV[2]) then
    redis.call('ZADD', KEYS[2], ARGV[3], ARGV[i])
    claimed[#claimed + 1] = ARGV[i]
  end
end
return claimed
