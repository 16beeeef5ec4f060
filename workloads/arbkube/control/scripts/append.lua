-- Append the entries that the log does not hold, in the order given; how many those were.
--
-- KEYS: the log, the ids in it. ARGV: id and text of each entry.

local new = 0
for i = 1, #ARGV, 2 do
  if redis.call('SADD', KEYS[2], ARGV[i]) == 1 then
    redis.call('RPUSH', KEYS[1], ARGV[i + 1])
    new = new + 1
  end
end
if new > 0 then
  redis.call('PUBLISH', 'changed', '')
end
return new
