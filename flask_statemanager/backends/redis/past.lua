-- List the names in a set that are scored up to a bound, the lowest first.
-- KEYS[1] the generation, KEYS[2] the set.
-- ARGV[1] the generation that was believed in, ARGV[2] the bound, ARGV[3] the most names.
-- Returns {0, names, each with its score behind it} or {1, generation}.
local generation = redis.call('GET', KEYS[1]) or '0'
if generation ~= ARGV[1] then
  return {1, generation}
end
return {0, redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2], 'WITHSCORES', 'LIMIT', 0, ARGV[3])}
