-- Give slots a new generation, so that nothing that was kept before is believed.
-- KEYS generations; ARGV[1] a token nobody else has. Returns the number of slots.
local time = redis.call('TIME')
local born = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #KEYS do
  redis.call('SET', KEYS[i], string.format('%.0f', born) .. '-' .. ARGV[1])
end
return #KEYS
