-- Put records into a generation that nobody reads yet.
-- KEYS[1] the generations, KEYS[2] the builder, KEYS[3] to KEYS[9] what the new generation holds (Shard.held in keys.py),
-- then the records, of which none may be there.
-- ARGV[1] the builder's token, ARGV[2] for how many milliseconds more he has the shard to himself, ARGV[3] the new
-- generation, ARGV[4] about how long its log may grow, then for each record: name, the record, when it is due, when it
-- died (both may be empty), its revision (empty for no entry in the log), what else the log is told, and the live record
-- before (may be empty).
-- Returns 0, or 1 where the generation was given up.
local call = redis.call
local FIXED, EACH = 9, 7
if call('HGET', KEYS[1], ARGV[3]) ~= 'new' then
  return 1
end
call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local names, due, sweep, dead, sums, heads, log = unpack(KEYS, 3, FIXED)
local bytes, noted, numbers = 0, 0, {}
for c = 1, #KEYS - FIXED do
  local told = 4 + EACH * (c - 1)
  local name, record, at, died = ARGV[told + 1], ARGV[told + 2], ARGV[told + 3], ARGV[told + 4]
  local flags, size = string.match(record, '^%d+ %d+ (%a*%-?) (%d+) ')
  call('SET', KEYS[FIXED + c], record)
  if died ~= '' then
    call('ZADD', dead, died, name)
  else
    local head = string.match(name, '^[^:]*:') or ''
    call('ZADD', names, 0, name)
    bytes = bytes + tonumber(size)
    noted = noted + (string.find(flags, 'm', 1, true) and 1 or 0)
    numbers[head] = (numbers[head] or 0) + 1
  end
  if at ~= '' then
    call('ZADD', due, at, name)
    call('ZADD', sweep, at, name)
  end
  if ARGV[told + 5] ~= '' then
    local entry = {'n', name, 't', ARGV[told + 6], 'a', record}
    if ARGV[told + 7] ~= '' then
      entry[7], entry[8] = 'b', ARGV[told + 7]
    end
    call('XADD', log, 'MAXLEN', '~', ARGV[4], ARGV[told + 5] .. '-0', unpack(entry))
  end
end
if bytes ~= 0 then
  call('HINCRBY', sums, 'bytes', string.format('%.0f', bytes))
end
if noted ~= 0 then
  call('HINCRBY', sums, 'metadata', noted)
end
for head, number in pairs(numbers) do
  call('HINCRBY', heads, head, number)
end
return 0
