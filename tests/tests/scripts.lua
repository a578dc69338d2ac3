return {1, 2.7, -2.7, 'a', true, false, nil, 5}

return {KEYS, ARGV, #KEYS, type(ARGV[2])}

return {ok='a\nb'}

return {err='E a\nb'}

return {double=3.25}

return {double=1e30}

return {map={a=1}}

return {set={a=true}}

return {big_number='123456789012345678901234567890'}

return {verbatim_string={format='txt', string='hi'}}

return redis.error_reply('My Err')

return redis.error_reply('FOO')

return redis.error_reply('-FOO bar\r\n')

return redis.error_reply(1)

return redis.status_reply('x y')

return redis.status_reply()

x = 10

return x

local function f() return y end return f()

return redis.call('nosuch')

return redis.call('get')

return redis.call()

return redis.pcall()

return redis.call('get', {})

return redis.call('get', true)

return redis.call('eval', 'return 1', '0')

error('boom')

error('boom', 0)

error({err='E1 boom'})

error(nil)

error(5)

local a = {} a[nil] = 1

return nil + 1

redis.x = 1

_G.x = 1

string.x = 1

return redis.pcall('incr', 1, 2).err

return {redis.pcall('nosuch')}

local x = = 1

return {pcall(error, 'x')}

return {pcall(function() error({err='y'}) end)}

return ({pcall(redis.call, 'nosuch')})[2]

return tostring(select('#', pcall(redis.call, 'get', 'x')))

redis.call('set', 'a', 1) redis.call('incr', 'a') return redis.call('get', 'a')

redis.call('set', 'a', 'x') return redis.call('incr', 'a')

redis.call('set', 'a', 'x') return redis.pcall('incr', 'a')

redis.call('set', 'a', 'x') return redis.call('lpush', 'a', 1)

redis.call('rpush', 'l', 1, 2, 3) return redis.call('lrange', 'l', 0, -1)

redis.setresp(3) redis.call('hset', 'h', 'f', 'v') return redis.call('hgetall', 'h')

redis.call('hset', 'h', 'f', 'v') return redis.call('hgetall', 'h')

redis.setresp(3) redis.call('zadd', 'z', 1.5, 'm') return {redis.call('zscore', 'z', 'm'), redis.call('zrange', 'z', 0, -1, 'withscores')}

redis.setresp(3) redis.call('sadd', 's', 'm') return redis.call('smembers', 's')

redis.setresp(3) return {redis.call('get', 'none'), 1}

redis.setresp(3) return true

redis.setresp(3) return false

redis.setresp(3) return {true, false}

redis.setresp(3) return {map={a=true, }}

redis.setresp(3) return type(redis.call('get', 'none'))

return type(redis.call('get', 'none'))

redis.setresp(4)

redis.setresp()

redis.log(9, 'x')

redis.log(1)

redis.log('a', 'b')

return redis.log(redis.LOG_DEBUG, 'x')

return redis.sha1hex('a')

return redis.sha1hex()

return redis.sha1hex(1, 2)

return redis.acl_check_cmd('set', 'a', 'b')

return redis.acl_check_cmd('nosuch')

return redis.acl_check_cmd()

redis.set_repl(9)

return redis.set_repl(redis.REPL_ALL)

return redis.replicate_commands()

return redis.breakpoint()

return math.random(0)

return math.random(5, 1)

math.randomseed(5) return {math.random(1000), math.random(10, 20), tostring(math.random())}

math.randomseed(-7) return math.random(100000)

return redis.call('echo', 'a')

return redis.call('ping')

return redis.call('ping', 'x')

redis.call('select', 1) redis.call('set', 'in1', 1) return redis.call('dbsize')

return redis.call('select', 99)

return redis.call('multi')

return redis.call('watch', 'a')

return redis.call('client', 'id')

return redis.call('script', 'load', 'x')

return redis.call('script', 'foo')

return redis.call('object', 'encoding')

return redis.call('flushall')

return redis.call('swapdb', 0, 1)

return redis.call('DEL')

return loadstring('return 5')()

loadstring('x=5')()

return load(function() return nil end)

local n = 0 return load(function() n = n + 1 return ({'return ', '7'})[n] end)()

return coroutine.wrap(function(a) local b = coroutine.yield(a) return b end)(5)

local co = coroutine.create(function() error('in') end) return {tostring(coroutine.resume(co))}

return unpack({1, 2, 3})

return 2^70

return 0/0

return -1/0

return string.format('%s %d %5.2f %q', 'a', 5, 1.5, 'x"y')

return string.format('%s', {})

return ('x'):rep(3)

return {string.find('hello world', 'o w'), string.gsub('hello', 'l', 'L')}

local function f() local x = f() return x end return f()

return setmetatable({}, {__index=function(t, k) return k .. '!' end}).x

setmetatable(_G, {})

rawset(_G, 'x', 1)

return getmetatable(_G)

return {rawget({a=1}, 'a'), rawequal(1, 1), select('#', 1, nil, 3)}

local t = {} for i, v in ipairs({5, 6, nil, 7}) do t[i] = v end return t

local t = {} for k in pairs(_G) do t[#t + 1] = k end table.sort(t) return #t > 20

return {next({}), next({5})}

return {table.concat({1, 2, 3}, '-'), table.getn({1, 2}), table.maxn({[5]=1})}

local t = {3, 1, 2} table.sort(t) table.insert(t, 9) table.remove(t, 1) return t

return table.foreach({1}, function(k, v) return k + v end)

return {tonumber('0x10'), tonumber('z', 36), tonumber('x') == nil}

return {math.floor(1.5), math.max(1, 5, 2), math.fmod(7, 3), math.mod(7, 3), math.pi > 3}

return assert(false, 'no')

return assert(nil)

return redis.call('set', 'a', 1e15)

redis.call('set', 'a', 1e15) return redis.call('get', 'a')

redis.call('set', 'a', 100) return redis.call('get', 'a')

redis.call('set', 'a', -0.5) return redis.call('get', 'a')

return bit.tohex(65535)

return {bit.band(1.5, 7), bit.bor(1, 2, 4), bit.bxor(5, 1), bit.bnot(0), bit.tobit(4294967295)}

return {bit.lshift(1, 31), bit.rshift(-1, 28), bit.arshift(-256, 4), bit.rol(0x12345678, 12), bit.ror(0x12345678, 12), bit.bswap(0x12345678)}

return {bit.tohex(-1, -4), bit.tohex(255, 2), bit.tohex(5, 20)}

return bit.tobit('a')

return bit.band()

return cjson.encode({1, 2, {a=1}})

return cjson.encode({})

return cjson.encode({{}, {{}}})

return cjson.encode({1, 2, nil, 4})

return cjson.encode({[1]=1, [1000]=2})

return cjson.encode({[1.5]=1})

return cjson.encode({[true]=1})

return cjson.encode(function() end)

return cjson.encode(1/0)

return cjson.encode({1e100, 0.1, 12345678901234567890, 1e14, 1e15, -0.0001, 1e-5, 100})

return cjson.encode('a/b"\\\127\1\n\t\r\b\f')

return cjson.encode()

return cjson.encode(1, 2)

return cjson.encode(cjson.null)

local t = {} t.t = t return cjson.encode(t)

return cjson.decode('')

return cjson.decode('{')

return cjson.decode('[1,2')

return cjson.decode('[1,]')

return cjson.decode('nul')

return cjson.decode('"a')

return cjson.decode('"\\u00e9 \\ud83d\\ude00 \\n\\t\\"\\\\\\/"')

return cjson.decode('"\\x"')

return cjson.decode('"\\u12"')

return cjson.decode('"\\udc00"')

return cjson.decode('1 2')

return cjson.decode('{"a" 1}')

return cjson.decode('{"a":1 "b":2}')

return cjson.decode('{a:1}')

return cjson.decode('0x10')

return tostring(cjson.decode('nan'))

return tostring(cjson.decode('-Infinity'))

return cjson.decode('[1.5e3, -2, 0.25, 01]')

return cjson.decode('-')

return cjson.decode('+1')

return cjson.decode(5)

return cjson.decode({})

return cjson.decode()

return cjson.decode('\0\0')

return cjson.decode(string.rep('[', 1001))

local t = cjson.decode('{"a":[1,2,{"b":null}],"c":true,"d":"x"}') return {t.a[1], t.a[3].b == cjson.null, t.c, t.d}

return cjson.encode(cjson.decode('[1e20,1.5,null,true,{},"x",[],{"a":{"b":[1,2,3]}}]'))

cjson.encode_max_depth(2) local r = {pcall(cjson.encode, {{{}}})} cjson.encode_max_depth(1000) return r[2]

return cjson.encode_max_depth(0)

return cjson.encode_max_depth('x')

local r = {cjson.encode_sparse_array(true, 3, 5), cjson.encode({[1]=1, [100]=2})} cjson.encode_sparse_array(false, 2, 10) return r

local r = {cjson.encode_number_precision(3), cjson.encode(1/3)} cjson.encode_number_precision(14) return r

local r = {cjson.encode_invalid_numbers(true), cjson.encode({1/0, -1/0})} cjson.encode_invalid_numbers(false) return r

local r = {cjson.encode_invalid_numbers('null'), cjson.encode({1/0, 0/0})} cjson.encode_invalid_numbers(false) return r

local r = {cjson.decode_invalid_numbers(false), pcall(cjson.decode, '0x10')} cjson.decode_invalid_numbers(true) return r[3]

return cjson.encode_keep_buffer('x')

return tostring(cjson.null)

return cmsgpack.pack()

return cmsgpack.pack(1, -1, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, -32, -33, -128, -129, -32768, -32769, -2147483648, -2147483649)

return cmsgpack.pack(1.5, 0.1, 1e100, true, false, nil, 'abc', string.rep('x', 40), string.rep('y', 300))

return cmsgpack.pack({}, {1, 2, 3}, {a=1}, {[1]=1, [3]=3}, {1, nil, 3})

local t = {} for i = 1, 20 do t[i] = i end return cmsgpack.pack(t)

local t = {} t[1] = t return cmsgpack.pack(t)

return {cmsgpack.unpack(cmsgpack.pack(1, -1, 1.5, 'abc', true, {1, {2}}, 1e15, -70000))}

local t = cmsgpack.unpack(cmsgpack.pack({a={b={1, 2}}, c='d'})) return {t.a.b[2], t.c}

return cmsgpack.unpack('')

return cmsgpack.unpack('\193')

return cmsgpack.unpack('\147')

return {cmsgpack.unpack_one('\1\2', 1)}

return {cmsgpack.unpack_one('\1\2')}

return {cmsgpack.unpack_limit('\1\2\3', 2)}

return {cmsgpack.unpack_one('\1\2', 5)}

return {cmsgpack.unpack_limit('\1\2', -1)}

return cmsgpack.unpack(5)

return cmsgpack.unpack({})

return struct.pack('>I2i4bBhHlLfd', 1, -2, -3, 4, -5, 6, -7, 8, 1.5, -2.25)

return struct.pack('<!8bihx', 1, 2, 3)

return struct.pack('!4bi', 1, 2)

return struct.pack('sc3c0', 'abc', 'defg', 'hij')

return struct.pack('c5', 'ab')

return struct.pack('i3', 5)

return struct.pack('i33', 5)

return struct.pack('q', 5)

return struct.pack('i')

return struct.pack('s', {})

return struct.pack('!3i', 1)

return {struct.unpack('>I2s', '\0\1abc\0')}

return {struct.unpack('<i2I2b', '\254\255\254\255\128')}

return {struct.unpack('Bc0', '\3abcdef')}

return {struct.unpack('i', 'ab')}

return {struct.unpack('s', 'ab')}

return {struct.unpack('c0', 'ab')}

return {struct.unpack('b', 'ab', 2)}

return {struct.unpack('b', 'ab', 0)}

return {struct.unpack('>d', struct.pack('>d', 1.5)) == 1.5, struct.unpack('<f', struct.pack('<f', 2.5)) == 2.5}

return {struct.size('!8ib'), struct.size('>i4h'), struct.size('!ibl')}

return struct.size('s')

return struct.size('c0')

return struct.size('%')
