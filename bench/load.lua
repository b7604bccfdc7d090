-- Asks a server for pictures, each of a seed of its own, then waits until the last one has answered.
-- Run by bench/load.py. Each of wrk's threads has a Lua state, and so counters, of its own.
-- Arguments: path, body, first seed, seeds a request, seconds, requests a second (0: as fast as answers come),
-- number of threads, how they come (even, poisson).

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long s; long ns; } bench_timespec;
  int clock_gettime(int clock, bench_timespec *time);
]]
local CLOCK_MONOTONIC = 1
local NEVER_MS = 1e9
local time = ffi.new("bench_timespec")

local function now()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
  return tonumber(time.s) + tonumber(time.ns) * 1e-9
end

-- Globals, for done() reads them from a state of its own.
began, ended = 0, 0
sent, answered = 0, 0
statuses = {}  -- answers by status
late_ms = {}   -- milliseconds to each answer of status 200, where the answer names its seed

local path, body, seed, step, seconds, interval, next_slot, poisson
local waiting, over, told = 0, false, false
local asked = {}  -- when each seed was asked for, by its decimal text
local threads = {}

-- Seconds from one slot to the next. Threads whose gaps are exponential send together as one such thread would.
local function gap()
  return poisson and -math.log(1 - math.random()) * interval or interval
end

function setup(thread)
  thread:set("index", #threads)
  threads[#threads + 1] = thread
end

function init(args)
  local count, rate, of = tonumber(args[4]), tonumber(args[6]), tonumber(args[7])
  path, body = args[1], args[2]
  seed, step = tonumber(args[3]) + index * count, of * count
  seconds = tonumber(args[5])
  poisson = args[8] == "poisson"
  math.randomseed(seed % 2^31)
  if rate > 0 then
    interval = of / rate
    next_slot = poisson and gap() or index / rate
  end
  wrk.method = body == "" and "GET" or "POST"
end

-- Tells bench/load.py that nothing more will come; wrk itself would sit out its time.
local function tell_when_drained()
  if over and not told and waiting == 0 and answered == sent then
    told = true
    io.write("drained\n")
    io.flush()
  end
end

-- Called by each connection when it is free: milliseconds until it sends its next request. At a given rate
-- requests have slots, evenly spaced or at random, and each free connection takes the next one; answers that
-- are late make no request late while connections are left.
function delay()
  local at = now()
  if began == 0 then began = at end
  local slot = interval and began + next_slot or at
  if math.max(at, slot) >= began + seconds then
    over = true
    tell_when_drained()
    return NEVER_MS
  end
  waiting = waiting + 1
  if interval then next_slot = next_slot + gap() end
  return math.max(0, (slot - at) * 1000)
end

function request()
  local text = string.format("%d", seed)
  if began > 0 then  -- wrk makes one request before it starts, to look at it, and sends it to nobody
    sent, waiting, seed = sent + 1, waiting - 1, seed + step
    asked[text] = now()
  end
  return wrk.format(nil, (path:gsub("%%d", text)), nil, body ~= "" and body:gsub("%%d", text) or nil)
end

function response(status, headers)
  answered, ended = answered + 1, now()
  statuses[status] = (statuses[status] or 0) + 1
  local text = headers["seedling-seed"] or headers["Seedling-Seed"]
  if text and asked[text] then
    if status == 200 then late_ms[#late_ms + 1] = (ended - asked[text]) * 1000 end
    asked[text] = nil
  end
  tell_when_drained()
end

function done()
  for _, thread in ipairs(threads) do
    local parts = {}
    for status, count in pairs(thread:get("statuses")) do
      parts[#parts + 1] = string.format('"%d": %d', status, count)
    end
    io.write(string.format(
      'answers: {"sent": %d, "answered": %d, "began": %.6f, "ended": %.6f, "statuses": {%s}, "late_ms": [%s]}\n',
      thread:get("sent"), thread:get("answered"), thread:get("began"), thread:get("ended"),
      table.concat(parts, ", "), table.concat(thread:get("late_ms"), ", ")))
  end
end
