-- Keep an entry unless a newer version of the record is there.
-- KEYS[1] entry; ARGV[1] version, ARGV[2] JSON text, ARGV[3] lifetime in milliseconds. Returns 1 when kept.
local present = redis.call('GET', KEYS[1])
if present then
  local version = tonumber(string.match(present, '^(%d+):'))
  if version and version > tonumber(ARGV[1]) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2], 'PX', ARGV[3])
return 1
