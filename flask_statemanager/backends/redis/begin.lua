-- Begin another generation, and give up all others that are not the present one.
-- KEYS[1] the generation, KEYS[2] the last revision, KEYS[3] the floor, KEYS[4] the generations, KEYS[5] the builder.
-- ARGV[1] a token for the builder, ARGV[2] for how many milliseconds he has the shard to himself.
-- Returns {0, generation, last revision, floor, new generation, those that are given up...}, or {1} while somebody else
-- builds.
local builder = redis.call('GET', KEYS[5])
if builder and builder ~= ARGV[1] then
  return {1}
end
redis.call('SET', KEYS[5], ARGV[1], 'PX', ARGV[2])
local generation = redis.call('GET', KEYS[1]) or '0'
local answer = {0, generation, redis.call('GET', KEYS[2]) or '0', redis.call('GET', KEYS[3]) or '0', ''}
for _, other in ipairs(redis.call('HKEYS', KEYS[4])) do
  if other ~= 'last' and other ~= generation then
    redis.call('HSET', KEYS[4], other, 'old')
    answer[#answer + 1] = other
  end
end
answer[5] = tostring(redis.call('HINCRBY', KEYS[4], 'last', 1))
redis.call('HSET', KEYS[4], answer[5], 'new')
return answer
