-- Count names, leaving out what is past its expiry.
-- KEYS[1] the generation, KEYS[2] the names of live records, KEYS[3] those that expire, by when.
-- ARGV[1] the generation that was believed in, ARGV[2] and ARGV[3] the range, ARGV[4] the end of what lies before it,
-- ARGV[5] now. Returns {0, number} or {1, generation}.
local generation = redis.call('GET', KEYS[1]) or '0'
if generation ~= ARGV[1] then
  return {1, generation}
end
if ARGV[2] == '-' and ARGV[3] == '+' then
  return {0, redis.call('ZCARD', KEYS[2]) - redis.call('ZCOUNT', KEYS[3], '-inf', ARGV[5])}
end
local number = redis.call('ZLEXCOUNT', KEYS[2], ARGV[2], ARGV[3])
if number == 0 or redis.call('ZCOUNT', KEYS[3], '-inf', ARGV[5]) == 0 then
  return {0, number}
end
-- By rank, as Lua compares text by the server's locale.
local first = ARGV[4] == '' and 0 or redis.call('ZLEXCOUNT', KEYS[2], '-', ARGV[4])
local last = first + number - 1
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[5])) do
  local rank = redis.call('ZRANK', KEYS[2], name)
  if rank and rank >= first and rank <= last then
    number = number - 1
  end
end
return {0, number}
