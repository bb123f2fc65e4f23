-- List names in order, leaving out what is past its expiry.
-- KEYS[1] the generation, KEYS[2] the names of live records, KEYS[3] those that expire, by when.
-- ARGV[1] the generation that was believed in, ARGV[2] and ARGV[3] the range, ARGV[4] now, ARGV[5] the most names, all
-- that are looked at. Returns {0, names, where to go on behind; empty at the end} or {1, generation}.
local generation = redis.call('GET', KEYS[1]) or '0'
if generation ~= ARGV[1] then
  return {1, generation}
end
local names = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[5])
local behind = #names == tonumber(ARGV[5]) and names[#names] or ''
local now = tonumber(ARGV[4])
if redis.call('ZCOUNT', KEYS[3], '-inf', now) == 0 then
  return {0, names, behind}
end
local found = {}
for _, name in ipairs(names) do
  local due = redis.call('ZSCORE', KEYS[3], name)
  if not due or tonumber(due) > now then
    found[#found + 1] = name
  end
end
return {0, found, behind}
