-- Makes the globals that scripts see. Gets the functions of ours, and what stands behind read-only
-- stand-ins; gives back the globals and the function that runs a script.
local base, libraries, stock, real, stand_ins = ...
local debug, setfenv, loadstring, setmetatable = debug, setfenv, loadstring, setmetatable
local xpcall, type, error, resume = base.xpcall, type, error, coroutine.resume
local byte = string.byte
local create, running = coroutine.create, coroutine.running

-- What stands for a table that cannot be changed. Each is empty, which is looked at after each
-- script, since functions such as table.insert could still put something into it.
-- What one gets to see of their metatables.
local nothing = setmetatable({}, { __newindex = base.readonly, __metatable = false })
real[nothing] = {}
stand_ins[#stand_ins + 1] = nothing

local function protect(table)
  local stand_in = {}
  real[stand_in] = table
  stand_ins[#stand_ins + 1] = stand_in
  return setmetatable(stand_in, { __index = table, __newindex = base.readonly, __metatable = nothing })
end

local function keep(names, from)
  local kept = {}
  for _, name in ipairs(names) do
    kept[name] = from[name]
  end
  return kept
end

local globals = keep({
  'assert', 'error', 'ipairs', 'rawequal', 'rawget', 'select', 'tonumber', 'type', 'unpack',
  '_VERSION',
}, _G)
for _, name in ipairs({ 'pairs', 'next', 'rawset', 'tostring', 'pcall', 'xpcall', 'getmetatable' }) do
  globals[name] = base[name]
end
local environment = protect(globals)
globals._G = environment

-- How much memory there is to collect depends on what ran before, so nobody is told.
globals.collectgarbage = function() return 0 end
globals.gcinfo = function() return 0 end

globals.setmetatable = function(table, metatable)
  if real[table] then
    error('Attempt to modify a readonly table', 0)
  end
  return setmetatable(table, metatable)
end

globals.loadstring = function(text, name)
  if type(text) == 'string' and byte(text) == 27 then
    return nil, 'attempt to load a binary chunk'
  end
  local loaded, problem = loadstring(text, name)
  if loaded then
    setfenv(loaded, environment)
  elseif problem == 'not enough memory' then
    base.out_of_memory()
  end
  return loaded, problem
end
globals.load = function(reader, name)
  if type(reader) ~= 'function' then
    error("bad argument #1 to 'load' (function expected, got " .. type(reader) .. ')', 2)
  end
  local pieces = {}
  while true do
    local piece = reader()
    if piece == nil or piece == '' then
      break
    end
    pieces[#pieces + 1] = piece
  end
  return globals.loadstring(table.concat(pieces), name or '=(load)')
end

-- Functions with something put in front of them. Methods of strings are found in the same table.
for library, replacements in pairs(stock) do
  for name, replacement in pairs(replacements) do
    _G[library][name] = replacement
  end
end

-- The coroutine in which all of a script runs, which it does not get to see.
local outermost
local coroutines = keep({ 'create', 'resume', 'status', 'wrap', 'yield' }, coroutine)
coroutines.running = function()
  local this = running()
  if this ~= outermost then
    return this
  end
  return nil
end

globals.coroutine = protect(coroutines)
globals.table = protect(table)
string.dump = nil
globals.string = protect(string)
math.random, math.randomseed = base.random, base.randomseed
globals.math = protect(math)
for name, library in pairs(libraries.plain) do
  globals[name] = protect(library)
end
-- They stay where they are in the table, so its order does not change.
globals.KEYS, globals.ARGV = false, false
setmetatable(globals, { __index = base.missing })

-- While a library is loaded, it sees the functions for that and nothing else.
local loading = { redis = protect(setmetatable(libraries.loading, { __index = base.missing })) }
local loading_environment = protect(setmetatable(loading, { __index = base.missing }))
-- What its functions see.
local calling = {}
for name, value in pairs(globals) do
  calling[name] = value
end
calling.redis = protect(libraries.calling)
local calling_environment = protect(setmetatable(calling, { __index = base.missing }))
calling._G = calling_environment
calling.KEYS, calling.ARGV = nil, nil
-- A library has one environment, which changes its nature when it has been loaded.
local library_index = { __newindex = base.readonly, __metatable = nothing }
local library_environment = setmetatable({}, library_index)
real[library_environment] = calling
stand_ins[#stand_ins + 1] = library_environment

-- Where an error happened: in the innermost function of the script.
local function explain(problem)
  if type(problem) == 'userdata' then
    return problem
  end
  local level = 2
  local place = debug.getinfo(level, 'Sl')
  while place and (place.what == 'C' or place.source == '=redis') do
    level = level + 1
    place = debug.getinfo(level, 'Sl')
  end
  if type(problem) ~= 'table' then
    problem = { err = 'ERR ' .. base.tostring(problem) }
  end
  if place then
    problem.source = place.source
    problem.line = place.currentline
  end
  return problem
end

local function finished(fine, ...)
  outermost = nil
  if not fine then
    error((...), 0)
  end
  return ...
end

-- Runs what a script gives us in a coroutine of its own. How deeply functions may nest follows from
-- what a coroutine has been through, so that of a thread would differ between replicas.
local function fresh(body)
  outermost = create(function()
    return xpcall(body, explain)
  end)
  return finished(resume(outermost))
end

local function prepare(compiled)
  setfenv(compiled, environment)
end

local function run(compiled, keys, arguments)
  globals.KEYS, globals.ARGV = keys, arguments
  local fine, result = fresh(compiled)
  globals.KEYS, globals.ARGV = false, false
  return fine, result
end

local function load_library(compiled)
  library_index.__index = loading
  setfenv(compiled, library_environment)
  local fine, result = fresh(compiled)
  library_index.__index = calling
  return fine, result
end

local function call_function(callback, keys, arguments)
  return fresh(function()
    return callback(keys, arguments)
  end)
end

return prepare, run, load_library, call_function
