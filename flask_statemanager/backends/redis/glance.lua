-- List a page of live names in order, those past their expiry too, and what the log says behind a revision.
-- KEYS[1] the generation, KEYS[2] the last revision, KEYS[3] the floor, KEYS[4] the names, KEYS[5] the log.
-- ARGV[1] the generation that was believed in, ARGV[2] and ARGV[3] the range, ARGV[4] the most names, ARGV[5] the
-- revision to begin with, ARGV[6] the most entries, ARGV[7] which record of an entry is wanted: a, the one after, b, the
-- one before, or another letter for none.
-- Returns {0, last revision, floor, names, entries} or {1, generation}. An entry is four things on end: revision, name,
-- version, and the wanted record; empty where there is none.
local generation = redis.call('GET', KEYS[1]) or '0'
if generation ~= ARGV[1] then
  return {1, generation}
end
local names = {}
if tonumber(ARGV[4]) > 0 then
  names = redis.call('ZRANGEBYLEX', KEYS[4], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
end
local found = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[5], ARGV[5] .. '-0', '+', 'COUNT', ARGV[6])) do
  local fields, told = entry[2], {}
  for i = 1, #fields, 2 do
    told[fields[i]] = fields[i + 1]
  end
  local at = #found
  found[at + 1] = string.match(entry[1], '^%d+')
  found[at + 2] = told.n
  found[at + 3] = string.match(told.a, '^%d+')
  found[at + 4] = told[ARGV[7]] or ''
end
return {0, redis.call('GET', KEYS[2]) or '0', redis.call('GET', KEYS[3]) or '0', names, found}
