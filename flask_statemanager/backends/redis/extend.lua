-- Keep one's own gate and place as the builder for a while longer.
-- KEYS[1] the gate, KEYS[2] the builder. ARGV[1] the token, ARGV[2] for how many milliseconds.
for _, own in ipairs(KEYS) do
  if redis.call('GET', own) == ARGV[1] then
    redis.call('PEXPIRE', own, ARGV[2])
  end
end
return 0
