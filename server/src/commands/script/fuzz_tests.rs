//! Scripts made by chance, which call whatever there is with whatever there is: a thread on which
//! all of them run gives the replies that new threads give, and leaves the same state.

use super::replica_tests::state;
use super::tests::eval;
use crate::commands::testing::Fixture;

/// `table.insert` and `string.rep` are left out where a place or number far out of range makes them
/// work for seconds.
const FUNCTIONS: &str = "assert error getmetatable ipairs next pairs pcall rawequal rawget rawset \
    select setmetatable tonumber tostring type unpack xpcall loadstring load collectgarbage \
    string.byte string.char string.find string.format string.gmatch string.gsub string.len \
    string.lower string.match string.reverse string.sub string.upper table.concat \
    table.foreach table.foreachi table.getn table.maxn table.remove table.sort math.abs math.acos \
    math.atan2 math.ceil math.cosh math.exp math.floor math.fmod math.frexp math.ldexp math.log \
    math.max math.min math.modf math.pow math.random math.randomseed math.sqrt coroutine.create \
    coroutine.resume coroutine.running coroutine.status coroutine.wrap coroutine.yield \
    cjson.encode cjson.decode cjson.encode_sparse_array cjson.encode_max_depth \
    cjson.decode_max_depth cjson.encode_number_precision cjson.encode_invalid_numbers \
    cmsgpack.pack cmsgpack.unpack cmsgpack.unpack_one cmsgpack.unpack_limit bit.tobit bit.bnot \
    bit.band bit.bxor bit.lshift bit.arshift bit.rol bit.bswap bit.tohex struct.pack struct.unpack \
    struct.size redis.call redis.pcall redis.sha1hex redis.error_reply redis.status_reply \
    redis.setresp redis.set_repl redis.acl_check_cmd redis.call redis.call redis.pcall";

const VALUES: &[&str] = &[
    "nil",
    "true",
    "false",
    "0",
    "-1",
    "1",
    "7",
    "1.5",
    "1e300",
    "2^53",
    "0/0",
    "1/0",
    "-1/0",
    "''",
    "'a'",
    "'0x10'",
    "'-1'",
    "'%a*(b?)%1'",
    "'%'",
    "'i4'",
    "'>c0s!8d'",
    "'\\220\\255\\255\\1'",
    "'\\147\\1\\161a\\192'",
    "'[1,{\"a\":null}]'",
    "string.rep('x', 1000)",
    "{}",
    "{1, 2, 3}",
    "{a = 1, b = {2}}",
    "{[1.5] = 2, [9] = 1}",
    "{[{}] = 1}",
    "function(...) return ... end",
    "redis.call",
    "string.find",
    "coroutine.create(function(a) coroutine.yield(a) error(a) end)",
    "cjson.null",
    "_G",
    "string",
    "'set'",
    "'incr'",
    "'sadd'",
    "'spop'",
    "'k'",
    "'l'",
];

/// As Knuth's linear congruential generator does it.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

const SHOW: &str = "local function show(v)
      if type(v) == 'number' then return string.format('%.17g', v) end
      if type(v) == 'table' then return 'table of ' .. #v end
      return tostring(v)
    end
    local function all(...)
      local shown = {}
      for i = 1, select('#', ...) do shown[i] = show((select(i, ...))) end
      return table.concat(shown, '|')
    end
    local seen = {}
    ";

fn script(chance: &mut Chance, functions: &[&str]) -> String {
    let mut script = SHOW.to_owned();
    for _ in 0..1 + chance.below(4) {
        let function = functions[chance.below(functions.len())];
        let values = (0..chance.below(5)).map(|_| VALUES[chance.below(VALUES.len())]);
        let values: Vec<&str> = std::iter::once(function).chain(values).collect();
        script += &format!("seen[#seen + 1] = all(pcall({}))\n", values.join(", "));
    }
    script + "redis.call('incr', 'n') return {unpack(seen)}"
}

#[test]
fn scripts_of_all_kinds_do_the_same_on_old_and_new_threads() {
    let functions: Vec<&str> = FUNCTIONS.split_whitespace().collect();
    let seed = 20;
    let (mut chance, mut old, mut new) = (Chance(seed), Fixture::default(), Fixture::default());
    for number in 0..400 {
        let script = script(&mut chance, &functions);
        let warm = eval(&mut old, &script);
        let new = &mut new;
        let cold = std::thread::scope(|scope| {
            let run = || eval(new, &script);
            scope.spawn(run).join().expect("an end")
        });
        assert_eq!(warm, cold, "seed {seed}, script {number}: {script}");
        assert_eq!(
            state(&old),
            state(new),
            "seed {seed}, script {number}: {script}"
        );
    }
}
