-- What one writer writes at once: all of it, or nothing.
--
-- KEYS: term, epoch, then the key of each write. ARGV: the writer's term, then four words a write:
--   put       term     serial   value   replace a value whose `order` is lower
--   revision  field    -        value   store it, unless it is there
--   epoch     -        -        value   replace the epoch, if it names this very process
--   drop      field    -        -       forget one revision
--   forget    -        -        -       forget the key
-- Every check comes before the first write: a script that fails halfway is not rolled back by the server.

local mine = tonumber(ARGV[1])
local highest = redis.call('GET', KEYS[1]) or '0'
if mine < tonumber(highest) then
  return redis.error_reply('SUPERSEDED by term ' .. highest)
end

local held = {}

local function holding(key)
  if held[key] == nil then
    held[key] = redis.call('GET', key)
  end
  return held[key]
end

local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local doing = {}
local news = false

for i = 3, #KEYS do
  local key, at = KEYS[i], 2 + (i - 3) * 4
  local kind, first, second, value = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if kind == 'put' then
    local before, term, serial = holding(key), tonumber(first), tonumber(second)
    if term > mine then
      return redis.error_reply('REFUSED ' .. key .. ' is of a higher term than its writer')
    end
    if before ~= value then
      if before then
        local order = cjson.decode(before).order
        if term < order[1] or (term == order[1] and serial <= order[2]) then
          return redis.error_reply(string.format('REFUSED %s holds %d.%d already', key, order[1], order[2]))
        end
      end
      held[key] = value
      news = true
      table.insert(doing, {'SET', key, value})
    end
  elseif kind == 'epoch' then
    local before, epoch = holding(KEYS[2]), cjson.decode(value)
    if epoch.run_id ~= run_id then
      return redis.error_reply('REFUSED epoch of another process than ' .. run_id)
    end
    if before and before ~= value then
      local old = cjson.decode(before)
      if old.incarnation == epoch.incarnation and old.number >= epoch.number then
        return redis.error_reply('REFUSED epoch ' .. old.number .. ' is there already')
      end
    end
    held[KEYS[2]] = value
    news = true
    table.insert(doing, {'SET', KEYS[2], value})
  elseif kind == 'revision' then
    table.insert(doing, {'HSETNX', key, first, value})
  elseif kind == 'drop' then
    table.insert(doing, {'HDEL', key, first})
  else
    held[key] = false
    table.insert(doing, {'DEL', key})
  end
end

if mine > tonumber(highest) then
  redis.call('SET', KEYS[1], ARGV[1])
end
for _, command in ipairs(doing) do
  redis.call(unpack(command))
end
if news then
  redis.call('PUBLISH', 'changed', '')
end
return redis.status_reply('OK')
