-- Store one version of a living record over another, neither of which expires: what most writes do, in the fewest steps.
-- Nothing that is counted can change by it but the bytes.
-- KEYS: the generation, the gate, the last revision, the sums, the log, the record.
-- ARGV: the generation that was believed in, the version before, the record before or its digest ('-' for whichever),
-- the version, the rest of the record, the bytes of its data, 'm' or '' for its metadata, the name, what else the log is
-- told, and about how long the log may grow.
-- Returns the revision; nothing where anything is not as it is here, so that write.lua has to look at it.
local call = redis.call
local generation, holder, text = unpack(call('MGET', KEYS[1], KEYS[2], KEYS[6]))
if (generation or '0') ~= ARGV[1] or holder or not text then
  return false
end
local version, noted, size = string.match(text, '^(%d+) %d+ (m?)[z-]? (%d+) ')
if version ~= ARGV[2] or noted ~= ARGV[7] then
  return false
end
local believed = ARGV[3]
if believed ~= text and believed ~= '-' and redis.sha1hex(text) ~= believed then
  return false
end
local revision = string.format('%.0f', call('INCR', KEYS[3]))
local record = ARGV[4] .. ' ' .. revision .. ' ' .. ARGV[5]
call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[10], revision .. '-0', 'n', ARGV[8], 't', ARGV[9], 'a', record, 'b', text)
call('SET', KEYS[6], record)
if size ~= ARGV[6] then
  call('HINCRBY', KEYS[4], 'bytes', string.format('%.0f', ARGV[6] - size))
end
return revision
