-- Take away a gate, if it is one's own still.
-- KEYS[1] the gate; ARGV[1] its token. Returns whether it was there.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
