-- Keep entries of one slot, none of them over a newer version.
-- KEYS[1] generation, KEYS[2..] entries.
-- ARGV[1] the generation that was there before the store was read; '-' for none; '*' for what was just written.
-- ARGV[2] a token nobody else has; ARGV[3] milliseconds that an entry lives; ARGV[4] that anything may be under way.
-- Then for each entry: version, text, '1' for a tombstone. Returns the number of entries kept.
--
-- An entry is "generation version text". What was read is kept only under the generation that it was read under: later
-- it may be what a lost write has made old. What was written cannot know that, so that for a while after a change of
-- generation only its version is kept, which bars older ones and is no answer.
local generation = redis.call('GET', KEYS[1])
if ARGV[1] ~= '*' and ARGV[1] ~= (generation or '-') then
  return 0
end
if not generation then
  generation = '0-' .. ARGV[2]
  redis.call('SET', KEYS[1], generation)
end
local bare = false
if ARGV[1] == '*' then
  local time = redis.call('TIME')
  local born = tonumber(string.match(generation, '^(%d+)-')) or 0
  bare = math.abs(time[1] * 1000 + time[2] / 1000 - born) < tonumber(ARGV[4])
end
local kept = 0
for i = 2, #KEYS do
  local version, text, dead = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  local present = string.match(redis.call('GETRANGE', KEYS[i], 0, 99), '^%S+ (%d+)')
  -- Compared as text: Lua's numbers are not exact beyond 2^53.
  local older = not present or #present < #version or (#present == #version and present < version)
  if older or (present == version and not bare) then
    local life = (bare or dead == '1') and ARGV[4] or ARGV[3]
    redis.call('SET', KEYS[i], generation .. ' ' .. version .. (bare and '' or ' ' .. text), 'PX', life)
    kept = kept + 1
  end
end
return kept
