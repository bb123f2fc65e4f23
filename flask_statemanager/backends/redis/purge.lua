-- Forget tombstones, and raise the version floor above them.
-- KEYS[1] the generation, KEYS[2] the floor, KEYS[3] the tombstones by when they died, then the records.
-- ARGV[1] the generation that was believed in, ARGV[2] only tombstones from before this moment, then their names.
-- Returns {0, how many} or {1, generation}. What was written again meanwhile stays.
local generation = redis.call('GET', KEYS[1]) or '0'
if generation ~= ARGV[1] then
  return {1, generation}
end
local before, gone = tonumber(ARGV[2]), 0
local floor = tonumber(redis.call('GET', KEYS[2]) or '0')
local highest = floor
for i = 4, #KEYS do
  local name = ARGV[i - 1]
  local died = redis.call('ZSCORE', KEYS[3], name)
  if died and tonumber(died) < before then
    local version = string.match(redis.call('GETRANGE', KEYS[i], 0, 99), '^(%d+) %d+ %a*d%a* ')
    -- What is no tombstone is left to be read, and found damaged.
    if version then
      highest = math.max(highest, tonumber(version))
      redis.call('DEL', KEYS[i])
      gone = gone + 1
    end
    redis.call('ZREM', KEYS[3], name)
  end
end
if highest > floor then
  redis.call('SET', KEYS[2], string.format('%.0f', highest))
end
return {0, gone}
