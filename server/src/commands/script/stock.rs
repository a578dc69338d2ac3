//! Functions of Lua's own libraries, with what scripts must be kept from put in front of them.
//!
//! * `find`, `match`, `gmatch` and `gsub` refuse patterns with more than [`MAX_QUANTIFIERS`]: Lua
//!   5.1 recurses in C once for each, without a bound, and a thread's stack has one.
//! * `rep` does not repeat nothing, which would take as long as repeating something, in no memory.
//! * `foreach` refuses tables that have no order which replicas agree on, as `pairs` does.
//! * `resume` and `wrap` let pass what ends a script from outside, and count.
//! * Functions of `math` that the system's library computes in ways of its own on each processor
//!   are computed by `libm` instead, which gives the same bits everywhere.
//!
//! The rule of `raw.rs` holds: nothing here owns what has to be dropped. What is replaced is called
//! within the replacement's frame, so that errors name the function that the script has called, and
//! the place.

use std::ffi::c_int;

use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, Result, Table};

use super::current;
use super::raw::{check_order, look_through, note_memory, raise};

/// Patterns have at most so many of `*`, `+`, `-` and `?`.
const MAX_QUANTIFIERS: usize = 1000;
/// What a coroutine counts when it is made or resumed.
const COROUTINE_STEPS: u64 = 1000;

/// The replacements, as a table of tables named as the libraries are. `real` has the tables behind
/// stand-ins.
pub(super) fn libraries(lua: &Lua, real: &Table) -> Result<Table> {
    let all = lua.create_table()?;
    all.raw_set("string", string(lua)?)?;
    all.raw_set("coroutine", coroutine(lua)?)?;
    all.raw_set("math", math(lua)?)?;
    let table = lua.create_table()?;
    table.raw_set("foreach", closure(lua, real, foreach)?)?;
    all.raw_set("table", table)?;
    Ok(all)
}

fn string(lua: &Lua) -> Result<Table> {
    let stock: Table = lua.globals().get("string")?;
    let string = lua.create_table()?;
    let functions: [(&str, ffi::lua_CFunction); 6] = [
        ("find", find),
        ("match", matching),
        ("gmatch", matching),
        ("gfind", matching),
        ("gsub", matching),
        ("rep", rep),
    ];
    for (name, function) in functions {
        let replaced: Function = stock.raw_get(name)?;
        string.raw_set(name, closure(lua, replaced, function)?)?;
    }
    Ok(string)
}

fn coroutine(lua: &Lua) -> Result<Table> {
    let stock: Table = lua.globals().get("coroutine")?;
    let stock_resume: Function = stock.raw_get("resume")?;
    let coroutine = lua.create_table()?;
    coroutine.raw_set("resume", closure(lua, &stock_resume, resume)?)?;
    let create: Function = stock.raw_get("create")?;
    // SAFETY: two values are on the stack, and the closure takes them as its upvalues.
    let wrap: Function = unsafe {
        lua.exec_raw((create, stock_resume), |state| {
            ffi::lua_pushcclosure(state, wrap, 2);
        })?
    };
    coroutine.raw_set("wrap", wrap)?;
    Ok(coroutine)
}

fn closure(
    lua: &Lua,
    upvalue: impl mlua::IntoLua,
    function: ffi::lua_CFunction,
) -> Result<Function> {
    // SAFETY: one value is on the stack, and the closure takes it as its only upvalue.
    unsafe { lua.exec_raw(upvalue, |state| ffi::lua_pushcclosure(state, function, 1)) }
}

/// Calls an upvalue, which is a C function without upvalues of its own, in the place of the
/// function that runs.
unsafe fn pass_on(state: *mut lua_State, upvalue: c_int) -> c_int {
    // SAFETY: the function finds the arguments where it expects them, and uses no upvalues.
    unsafe {
        match ffi::lua_tocfunction(state, ffi::lua_upvalueindex(upvalue)) {
            Some(function) => function(state),
            None => raise(state, c"a function of Lua's own is missing"),
        }
    }
}

unsafe extern "C-unwind" fn find(state: *mut lua_State) -> c_int {
    // SAFETY: as `matching`.
    unsafe {
        let is_plain = ffi::lua_toboolean(state, 4) != 0;
        if !is_plain {
            check_pattern(state);
        }
        pass_on(state, 1)
    }
}

unsafe extern "C-unwind" fn matching(state: *mut lua_State) -> c_int {
    // SAFETY: upvalue 1 is the function that is replaced.
    unsafe {
        check_pattern(state);
        pass_on(state, 1)
    }
}

unsafe extern "C-unwind" fn rep(state: *mut lua_State) -> c_int {
    // SAFETY: as Lua's own, which has nothing to do for an empty text but check its arguments.
    unsafe {
        let mut len = 0;
        ffi::luaL_checklstring(state, 1, &raw mut len);
        if len > 0 {
            return pass_on(state, 1);
        }
        ffi::luaL_checknumber(state, 2);
        ffi::lua_settop(state, 1);
        1
    }
}

/// Refuses a pattern, which is argument 2, that would take too much of the thread's stack. What is
/// escaped or in a set counts, too: an upper bound does.
unsafe fn check_pattern(state: *mut lua_State) {
    // SAFETY: lua_tolstring of a string gives its bytes, which live as long as it is on the stack.
    let quantifiers = unsafe {
        // A number has a short text.
        if ffi::lua_type(state, 2) != ffi::LUA_TSTRING {
            return;
        }
        let mut len = 0;
        let bytes = ffi::lua_tolstring(state, 2, &raw mut len);
        let pattern = std::slice::from_raw_parts(bytes.cast::<u8>(), len);
        let is_quantifier = |byte: &&u8| matches!(byte, b'*' | b'+' | b'-' | b'?');
        pattern.iter().filter(is_quantifier).count()
    };
    if quantifiers > MAX_QUANTIFIERS {
        // SAFETY: `raise` only pushes.
        unsafe { raise(state, c"pattern too complex") };
    }
}

unsafe extern "C-unwind" fn foreach(state: *mut lua_State) -> c_int {
    // SAFETY: as Lua's own; upvalue 1 is a table.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::luaL_checktype(state, 2, ffi::LUA_TFUNCTION);
        ffi::lua_settop(state, 2);
        look_through(state);
        check_order(state);
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 1) != 0 {
            ffi::lua_pushvalue(state, 2);
            ffi::lua_pushvalue(state, -3);
            ffi::lua_pushvalue(state, -3);
            ffi::lua_call(state, 2, 1);
            if ffi::lua_isnil(state, -1) == 0 {
                return 1;
            }
            ffi::lua_pop(state, 2);
        }
        0
    }
}

/// Resumes the coroutine that is argument 1, as Lua's own function, which is the upvalue.
unsafe extern "C-unwind" fn resume(state: *mut lua_State) -> c_int {
    // SAFETY: what is replaced leaves its results on top of the stack, two of them for an error.
    unsafe {
        count_coroutine(state);
        let results = pass_on(state, 1);
        let fine = ffi::lua_toboolean(state, -results) != 0;
        if !fine {
            let_pass(state, ffi::lua_tothread(state, 1));
        }
        results
    }
}

/// Makes a coroutine of argument 1, and a function that resumes it.
unsafe extern "C-unwind" fn wrap(state: *mut lua_State) -> c_int {
    // SAFETY: Lua's own function, upvalue 1, leaves the coroutine on top of the stack.
    unsafe {
        count_coroutine(state);
        pass_on(state, 1);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
        ffi::lua_pushcclosure(state, wrapped, 2);
        1
    }
}

/// Resumes the coroutine of upvalue 1, and raises its error as its own.
unsafe extern "C-unwind" fn wrapped(state: *mut lua_State) -> c_int {
    // SAFETY: upvalue 2 is Lua's own function, which finds the coroutine before the arguments.
    unsafe {
        let coroutine = ffi::lua_upvalueindex(1);
        ffi::luaL_checkstack(state, 2, c"too many arguments".as_ptr());
        ffi::lua_pushvalue(state, coroutine);
        ffi::lua_insert(state, 1);
        let results = pass_on(state, 2);
        if ffi::lua_toboolean(state, -results) != 0 {
            return results - 1;
        }
        let_pass(state, ffi::lua_tothread(state, coroutine));
        if ffi::lua_type(state, -1) == ffi::LUA_TSTRING {
            ffi::luaL_where(state, 1);
            ffi::lua_insert(state, -2);
            ffi::lua_concat(state, 2);
        }
        ffi::lua_error(state)
    }
}

/// Raises the error on top of the stack, of a coroutine that has failed, if no script may catch it.
unsafe fn let_pass(state: *mut lua_State, coroutine: *mut lua_State) {
    // SAFETY: a coroutine that was resumed is on the stack or an upvalue, so it lives.
    unsafe {
        let is_ours = ffi::lua_type(state, -1) == ffi::LUA_TUSERDATA;
        let is_memory = ffi::lua_status(coroutine) == ffi::LUA_ERRMEM;
        if is_memory {
            note_memory();
        }
        if is_ours || is_memory {
            ffi::lua_error(state);
        }
    }
}

/// Counts a coroutine; whose steps are used up is ended by the error, or soon after it.
unsafe fn count_coroutine(state: *mut lua_State) {
    if !current::with(|running| running.charge(COROUTINE_STEPS)) {
        // SAFETY: `raise` only pushes.
        unsafe { raise(state, c"the script is ended") };
    }
}

/// A function of `math` of one argument, or two.
macro_rules! math_functions {
    ($($name:ident($($at:literal),+);)+) => {
        $(unsafe extern "C-unwind" fn $name(state: *mut lua_State) -> c_int {
            // SAFETY: as Lua's own.
            unsafe {
                let result = libm::$name($(ffi::luaL_checknumber(state, $at)),+);
                ffi::lua_pushnumber(state, result);
            }
            1
        })+

        const MATH: &[(&str, ffi::lua_CFunction)] = &[$((stringify!($name), $name)),+];
    };
}

math_functions! {
    sin(1); cos(1); tan(1); asin(1); acos(1); atan(1); sinh(1); cosh(1); tanh(1);
    exp(1); log(1); log10(1); atan2(1, 2); pow(1, 2);
}

fn math(lua: &Lua) -> Result<Table> {
    let math = lua.create_table()?;
    for (name, function) in MATH {
        // SAFETY: these are functions as Lua wants them, and keep the rule above.
        let function = unsafe { lua.create_c_function(*function)? };
        math.raw_set(*name, function)?;
    }
    Ok(math)
}
