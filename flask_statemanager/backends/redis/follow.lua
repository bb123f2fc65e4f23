-- Read the log behind a revision.
-- KEYS[1] the generation, KEYS[2] the last revision, KEYS[3] the log.
-- ARGV[1] the generation that was believed in, ARGV[2] the revision to begin with, ARGV[3] the most entries.
-- Returns {0, last revision, entries} or {1, generation}.
local generation = redis.call('GET', KEYS[1]) or '0'
if generation ~= ARGV[1] then
  return {1, generation}
end
local entries = redis.call('XRANGE', KEYS[3], ARGV[2] .. '-0', '+', 'COUNT', ARGV[3])
return {0, redis.call('GET', KEYS[2]) or '0', entries}
