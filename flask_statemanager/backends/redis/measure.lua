-- Tell how much there is, leaving out what is past its expiry.
-- KEYS[1] the generation, KEYS[2] the names of live records, KEYS[3] those that expire, by when, KEYS[4] sums,
-- KEYS[5] numbers by what names begin with, then the records that are past their expiry.
-- ARGV[1] the generation that was believed in, ARGV[2] now, then the names of these.
-- Returns {0, keys, bytes, with metadata, numbers} or {1, generation}; {0} where other records are past their expiry.
local generation = redis.call('GET', KEYS[1]) or '0'
if generation ~= ARGV[1] then
  return {1, generation}
end
local now = tonumber(ARGV[2])
local sums = redis.call('HMGET', KEYS[4], 'bytes', 'metadata')
local keys, bytes, noted = redis.call('ZCARD', KEYS[2]), tonumber(sums[1] or 0), tonumber(sums[2] or 0)
local numbers = {}
local heads = redis.call('HGETALL', KEYS[5])
for i = 1, #heads, 2 do
  numbers[heads[i]] = tonumber(heads[i + 1])
end
local over = 0
for i = 6, #KEYS do
  local name = ARGV[i - 3]
  local due = redis.call('ZSCORE', KEYS[3], name)
  if due and tonumber(due) <= now then
    local flags, size = string.match(redis.call('GETRANGE', KEYS[i], 0, 99), '^%d+ %d+ (%a*%-?) (%d+) ')
    local head = string.match(name, '^[^:]*:') or ''
    over = over + 1
    bytes = bytes - tonumber(size or 0)
    noted = noted - (string.find(flags or '', 'm', 1, true) and 1 or 0)
    numbers[head] = (numbers[head] or 0) - 1
  end
end
if over ~= redis.call('ZCOUNT', KEYS[3], '-inf', now) then
  return {0}
end
local flat = {}
for head, number in pairs(numbers) do
  if number > 0 then
    flat[#flat + 1] = head
    flat[#flat + 1] = number
  end
end
return {0, keys - over, bytes, noted, flat}
