-- List names of tombstones, in no order, each at least once that is there from the first page to the last.
-- KEYS[1] the generation, KEYS[2] the tombstones by when they died.
-- ARGV[1] the generation that was believed in, ARGV[2] where to go on, 0 at first, ARGV[3] about how many.
-- Returns {0, where to go on, 0 at the end, names} or {1, generation}.
local generation = redis.call('GET', KEYS[1]) or '0'
if generation ~= ARGV[1] then
  return {1, generation}
end
local page = redis.call('ZSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
local names = {}
for i = 1, #page[2], 2 do
  names[#names + 1] = page[2][i]
end
return {0, page[1], names}
