-- Give the records of a generation that are not in the one that is being built.
-- KEYS: the record in the one and in the other, for each name. Returns the records of the one, empty for none.
local found = {}
for i = 1, #KEYS, 2 do
  found[#found + 1] = redis.call('EXISTS', KEYS[i + 1]) == 0 and redis.call('GET', KEYS[i]) or ''
end
return found
