-- One executor's request to the shared pools: declare, give back, take. All in one step; done once, however often it is sent.
--
-- ARGV: the names of epoch and capacities; incarnation, number and run id of the epoch that the executor trusts; strategy, token,
-- number of the request; then four words a pool: its name, what is in use, what an Open needs, the size of block asked for.
--
-- What is kept, all of it for as long as the epoch lasts:
--   pool:<name>         held:<strategy> and epoch:<strategy> (the epoch in which it declared); whole units
--   holder:<strategy>   token, number and epoch of the last request that changed something
--   waiting:<strategy>  JSON: ticket, since (ms), needs by pool; gone when it is not renewed, or after ten seconds at most
--   tickets             the last ticket: who waits longer is served first, in all pools at once
--
-- A block grows only while every strategy that shares the pool has declared in this epoch, and only out of what neither is held
-- nor was asked for by somebody with an earlier ticket. What an Open needs is given in all its pools or in none.

local WAIT_MS, TURN_MS = 1000, 10000

local function run_id()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end

local function entries(flat)
  local found = {}
  for i = 1, #flat, 2 do
    found[flat[i]] = flat[i + 1]
  end
  return found
end

local stored = redis.call('GET', ARGV[1])
local epoch = stored and cjson.decode(stored)
if not epoch or epoch.incarnation ~= ARGV[3] or epoch.number ~= tonumber(ARGV[4]) or epoch.run_id ~= ARGV[5]
  or run_id() ~= ARGV[5] then
  return {'OtherEpoch'}
end
local era = ARGV[3] .. '/' .. ARGV[4]

local me, token, number = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local holder_key, waiting_key = 'holder:' .. me, 'waiting:' .. me
local holder = entries(redis.call('HGETALL', holder_key))
local repeated = false
if holder.epoch == era then
  if token < tonumber(holder.token) then
    return {'Overtaken'}
  elseif token == tonumber(holder.token) then
    if number < tonumber(holder.number) then
      return {'Late'}
    end
    repeated = number == tonumber(holder.number)
  end
end
local changed = holder.epoch ~= era or token ~= tonumber(holder.token)

local capacities = redis.call('GET', ARGV[2])
capacities = capacities and cjson.decode(capacities).pools or {}

local waiters = {}
local function waiting(strategy)
  if waiters[strategy] == nil then
    local text = redis.call('GET', 'waiting:' .. strategy)
    waiters[strategy] = text and cjson.decode(text) or false
  end
  return waiters[strategy]
end
local mine = waiting(me)
local ticket = mine and mine.ticket or math.huge

-- Look: every pool as it is.
local pools = {}
local satisfied, wanting, possible = true, false, true
for i = 9, #ARGV, 4 do
  local pool = {name = ARGV[i], used = tonumber(ARGV[i + 1]), need = tonumber(ARGV[i + 2]), target = tonumber(ARGV[i + 3])}
  local capacity = capacities[pool.name]
  local fields = entries(redis.call('HGETALL', 'pool:' .. pool.name))
  pool.capacity, pool.others, pool.earlier, pool.later, pool.undeclared = 0, 0, 0, false, {}
  local shared, seen = false, {}
  for _, user in ipairs(capacity and capacity.users or {}) do
    seen[user] = true
    local held = tonumber(fields['held:' .. user] or '0')
    if user == me then
      shared = true
    else
      pool.others = pool.others + held
      if fields['epoch:' .. user] ~= era then
        table.insert(pool.undeclared, user)
      end
      local other = waiting(user)
      local lacking = other and tonumber(other.needs[pool.name] or '0') - held or 0
      if lacking > 0 then
        if other.ticket < ticket then
          pool.earlier = pool.earlier + lacking
        else
          pool.later = true
        end
      end
    end
  end
  if shared then
    pool.capacity = capacity.units
    pool.declares = fields['epoch:' .. me] ~= era
    pool.before = tonumber(fields['held:' .. me] or '0')
    pool.held = pool.declares and pool.used or pool.before
    -- Strategies that share it no longer: what they held is free, and comes back only by declaring.
    pool.gone = {}
    for field, _ in pairs(fields) do
      if not seen[string.match(field, '^%a+:(.*)$')] then
        table.insert(pool.gone, field)
      end
    end
    if not repeated then
      pool.held = math.min(pool.held, math.max(pool.target, pool.used))
      local room = 0
      if #pool.undeclared == 0 then
        room = math.max(0, pool.capacity - pool.others - pool.earlier - pool.held)
      end
      local aim = pool.target
      if pool.earlier > 0 or pool.later then
        aim = 0
      end
      aim = math.max(aim, pool.need)
      pool.taken = math.max(0, math.min(aim - pool.held, room))
      wanting = wanting or pool.need > pool.held
      satisfied = satisfied and pool.held + pool.taken >= pool.need
      possible = possible and pool.need <= pool.capacity
    end
    table.insert(pools, pool)
  else
    table.insert(pools, {name = pool.name, capacity = 0, held = 0, others = 0, earlier = 0, undeclared = {}})
    possible = possible and pool.need == 0
    satisfied = satisfied and pool.need == 0
  end
end

-- Write: only what is other than before, for every write costs the server a sync of its disk.
if not repeated then
  for _, pool in ipairs(pools) do
    if pool.taken then
      if satisfied then
        pool.held = pool.held + pool.taken
      end
      if pool.declares or pool.held ~= pool.before or #pool.gone > 0 then
        changed = true
        redis.call('HSET', 'pool:' .. pool.name, 'held:' .. me, string.format('%.0f', pool.held), 'epoch:' .. me, era)
        if #pool.gone > 0 then
          redis.call('HDEL', 'pool:' .. pool.name, unpack(pool.gone))
        end
      end
    end
  end
  if wanting and possible and not satisfied then
    local clock = redis.call('TIME')
    local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
    if not mine then
      ticket = redis.call('INCR', 'tickets')
      mine = {ticket = ticket, since = now}
    end
    mine.needs = {}
    for _, pool in ipairs(pools) do
      if pool.need and pool.need > 0 then
        mine.needs[pool.name] = string.format('%.0f', pool.need) -- as text: JSON here has 14 digits
      end
    end
    local left = math.min(WAIT_MS, mine.since + TURN_MS - now)
    if left > 0 then
      redis.call('SET', waiting_key, cjson.encode(mine), 'PX', string.format('%.0f', left))
    end
    changed = true
  elseif mine then
    redis.call('DEL', waiting_key)
    changed = true
  end
  if changed then
    redis.call('HSET', holder_key, 'token', ARGV[7], 'number', ARGV[8], 'epoch', era)
  end
end

local reply = {'Done'}
for _, pool in ipairs(pools) do
  local free = math.max(0, pool.capacity - pool.others - pool.held)
  local asked_back = (pool.others + pool.held > pool.capacity or pool.earlier > free) and 1 or 0
  table.insert(reply, {pool.name, pool.held, pool.capacity, asked_back, pool.undeclared})
end
return reply
