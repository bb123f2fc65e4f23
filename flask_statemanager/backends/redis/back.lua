-- Read the log backwards.
-- KEYS[1] the generation, KEYS[2] the log.
-- ARGV[1] the generation that was believed in, ARGV[2] the id to begin with ('+' for the end), ARGV[3] the most entries.
-- Returns {0, entries} or {1, generation}.
local generation = redis.call('GET', KEYS[1]) or '0'
if generation ~= ARGV[1] then
  return {1, generation}
end
return {0, redis.call('XREVRANGE', KEYS[2], ARGV[2], '-', 'COUNT', ARGV[3])}
