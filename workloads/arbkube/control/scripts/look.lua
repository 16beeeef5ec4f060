-- All that a writer has to know, as of one moment: run id, term, epoch, log, then name and value of every head, limits,
-- acknowledgement, name and orders of every document's revisions, and the capacities.
--
-- ARGV: the names of term, epoch and log, then the prefixes of heads, limits, acknowledgements and revisions, then the name of
-- the capacities, then the first entry of the log that is asked for, counted from 0.

local function values(prefix)
  local found = {}
  for _, key in ipairs(redis.call('KEYS', prefix .. '*')) do
    table.insert(found, string.sub(key, #prefix + 1))
    table.insert(found, redis.call('GET', key))
  end
  return found
end

local revisions = {}
for _, key in ipairs(redis.call('KEYS', ARGV[7] .. '*')) do
  table.insert(revisions, string.sub(key, #ARGV[7] + 1))
  table.insert(revisions, redis.call('HKEYS', key))
end

return {
  string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'),
  redis.call('GET', ARGV[1]),
  redis.call('GET', ARGV[2]),
  redis.call('LRANGE', ARGV[3], ARGV[9], -1),
  values(ARGV[4]),
  values(ARGV[5]),
  values(ARGV[6]),
  revisions,
  redis.call('GET', ARGV[8]),
}
