//! Random scripts on keys that no history judges: replicas have to make the same of them.
//!
//! A script is made of pieces that read and write keys with one beginning, keys that it does not
//! declare among them, and of what could differ between replicas if nobody took care: chance, time,
//! addresses, the order of tables, what ran before, numbers as text. Many fail in the middle, which
//! leaves what they have written until then, on all replicas alike.

use fastrand::Rng;

use super::mixed;
use super::requests::Words;

/// Pieces of scripts. `$K` is a key, `$N` a small number, `$C` a command with its words in quotes;
/// `o` is what was found so far, as text.
const PIECES: &[&str] = &[
    "o = o .. said(redis.pcall($C))",
    "o = o .. said(redis.pcall($C))",
    "o = o .. said(redis.call($C))",
    "redis.pcall('SET', $K, o)",
    "redis.pcall('APPEND', $K, #o)",
    "for i = 1, $N do redis.pcall('RPUSH', $K, i, math.random(100)) end",
    "for i = 1, $N do redis.pcall('ZADD', $K, math.random(9), 'm' .. i) end",
    "for i = 1, $N do redis.pcall('HSET', $K, 'f' .. i, tostring(math.random())) end",
    "redis.call('INCR', $K)",
    "if redis.call('EXISTS', $K) == 1 then redis.pcall('DEL', $K) else o = o .. 'x' end",
    "if redis.pcall('TYPE', $K).ok == 'string' then o = o .. redis.call('GET', $K) end",
    "local t = redis.pcall('SMEMBERS', $K)\n\
     if not t.err then table.sort(t); redis.pcall('SET', $K, table.concat(t, ',')) end",
    "local t = redis.pcall('HGETALL', $K); if not t.err then o = o .. table.concat(t, ';') end",
    "o = o .. said(redis.pcall('SPOP', $K)) .. said(redis.pcall('SRANDMEMBER', $K))",
    "o = o .. said(redis.pcall('HRANDFIELD', $K, $N)) .. said(redis.pcall('ZRANDMEMBER', $K))",
    "o = o .. said(redis.call('TIME'))",
    "o = o .. said(redis.pcall('PTTL', $K)); redis.pcall('PEXPIRE', $K, 30 * $N)",
    "o = o .. tostring({}) .. tostring(said)",
    "for k, v in pairs({x = 1, y = 2, [3] = 'z', [10] = o}) do o = o .. k .. v end",
    "pcall(function() for k in pairs({[{}] = 1, [{1}] = 2}) do o = o .. tostring(k) end end)",
    "pcall(function() leaked = o end); pcall(function() o = o .. leaked end)",
    "pcall(function() o = o .. collectgarbage('count') end)",
    "local w = setmetatable({}, {__mode = 'k'}); w[{}] = 1\n\
     pcall(function() o = o .. tostring(next(w)) end)",
    "redis.pcall('SET', $K, cjson.encode({a = {1, 2, $N}, b = o}))",
    "redis.pcall('SET', $K, cmsgpack.pack({$N, o, {c = true}}))",
    "local v = redis.pcall('GET', $K)\n\
     if type(v) == 'string' then o = o .. said({pcall(cjson.decode, v)}) end",
    "o = o .. redis.sha1hex(o) .. string.format('%.17g', math.sin($N) * math.exp($N / 7))",
    "o = o .. bit.tohex(bit.bxor(#o, $N)) .. (2 ^ 0.5) .. 1 / 3",
    "o = o .. said(redis.pcall('OBJECT', 'ENCODING', $K))",
    "o = o .. said(redis.pcall('SCAN', 0, 'MATCH', P .. '*', 'COUNT', 20))",
    "o = o .. said(redis.pcall('XADD', $K, '*', 'f', #o))",
    "redis.setresp(3); o = o .. said(redis.pcall('HGETALL', $K)); redis.setresp(2)",
    "redis.pcall('SELECT', 1); redis.pcall('SET', $K, o); redis.pcall('SELECT', 0)",
    "o = string.rep(o, $N)",
];
/// How a script ends.
const ENDS: &[&str] = &[
    "return o",
    "return o",
    "return {o, #o, redis.pcall('DBSIZE')}",
    "return redis.error_reply('ERR ' .. #o)",
    "error(o)",
    "return redis.call('NOSUCH', o)",
];
/// What all of them begin with: makes text of whatever a command has replied.
const HEAD: &str = "local o = ''\n\
    local P = ARGV[1]\n\
    local function said(v)\n\
    if type(v) ~= 'table' then return type(v) == 'string' and v or tostring(v) end\n\
    local s = '{' .. (v.err or v.ok or '')\n\
    for i = 1, #v do s = s .. said(v[i]) .. ',' end\n\
    return s .. '}'\n\
    end\n";
/// Scripts get no longer texts than so many pieces make.
const MOST_PIECES: usize = 6;
/// Libraries of functions, by number.
const LIBRARIES: u32 = 3;

/// A request that runs a script on keys with this beginning, or changes which functions there are.
pub(super) fn command(rng: &mut Rng, prefix: &str) -> Words {
    let first = format!("{prefix}mixed:0");
    let words = match rng.u32(..12) {
        0 => {
            let library = rng.u32(..LIBRARIES);
            let body = body(rng, prefix);
            let text = format!(
                "#!lua name=lib{library}\n\
                 redis.register_function('run{library}', function(KEYS, ARGV)\n{body}\nend)"
            );
            ["FUNCTION", "LOAD", "REPLACE", &text]
                .map(str::to_owned)
                .to_vec()
        }
        1..=3 => {
            let name = format!("run{}", rng.u32(..LIBRARIES));
            ["FCALL", &name, "1", &first, prefix]
                .map(str::to_owned)
                .to_vec()
        }
        _ => {
            let body = body(rng, prefix);
            ["EVAL", &body, "1", &first, prefix]
                .map(str::to_owned)
                .to_vec()
        }
    };
    words.into_iter().map(String::into_bytes).collect()
}

/// Whether a request is one of these.
pub(super) fn is_script(words: &[Vec<u8>]) -> bool {
    [&b"EVAL"[..], b"FCALL", b"FUNCTION"].contains(&&*words[0])
}

fn body(rng: &mut Rng, prefix: &str) -> String {
    let mut text = HEAD.to_owned();
    for _ in 0..rng.usize(1..=MOST_PIECES) {
        let piece = PIECES[rng.usize(..PIECES.len())];
        // Each piece has its own locals.
        text += &format!("do\n{}\nend\n", fill(rng, piece, prefix));
    }
    text + ENDS[rng.usize(..ENDS.len())]
}

fn fill(rng: &mut Rng, piece: &str, prefix: &str) -> String {
    let mut text = String::new();
    let mut rest = piece;
    while let Some((before, after)) = rest.split_once('$') {
        text += before;
        let (what, after) = after.split_at(1);
        match what {
            "K" => text += &mixed::key(rng),
            "N" => text += &rng.u32(1..6).to_string(),
            _ => {
                let words = mixed::small_command(rng, prefix);
                let words = words
                    .iter()
                    .map(|word| format!("'{}'", word.escape_ascii()));
                text += &words.collect::<Vec<_>>().join(", ");
            }
        }
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::super::requests;
    use super::*;

    #[test]
    fn all_requests_exist() {
        let mut rng = Rng::with_seed(1);
        for _ in 0..400 {
            let words = command(&mut rng, "a:");
            // It panics for a command that does not exist.
            requests::pipeline(&[words], 0);
        }
    }
}
