-- Give up all generations that are not the present one, unless somebody builds.
-- KEYS[1] the generation, KEYS[2] the generations, KEYS[3] the builder. Returns those that are given up.
if redis.call('EXISTS', KEYS[2]) == 0 or redis.call('EXISTS', KEYS[3]) == 1 then
  return {}
end
local generation = redis.call('GET', KEYS[1]) or '0'
local found = {}
for _, other in ipairs(redis.call('HKEYS', KEYS[2])) do
  if other ~= 'last' and other ~= generation then
    redis.call('HSET', KEYS[2], other, 'old')
    found[#found + 1] = other
  end
end
return found
