//! The functions that scripts call and that must be C functions to Lua.
//!
//! Lua tells where an error happened by the frames of the stack, and a function that is written in
//! Lua loses its caller's frame when it is called last (`return redis.call(...)`). So everything a
//! script sees is a C function: [`guarded`] puts one in front of a function of ours, which never
//! raises but says what is to be raised; the others stand here as a whole.
//!
//! All `unsafe` of scripts is in this file and in `stock.rs`, but for the pointer in `current.rs`.
//! **Rule**: a function here owns nothing that has to be dropped, since Lua leaves it by a long
//! jump when it raises an error.
//!
//! What the replacements of Lua's own functions are for:
//! * `pcall` and `xpcall` let pass what ends a script from outside: our own errors, which are
//!   userdata that no script has otherwise, and the end of memory. The latter is noted besides,
//!   since a handler of the script's can hide it.
//! * `pairs` and `next` refuse tables with keys whose order is their address, which differs from
//!   replica to replica, and look through the stand-ins of read-only tables. `next` looks each
//!   time, and that counts as steps; `pairs` looks at the beginning, and then at the keys that it
//!   comes to.
//! * `tostring` numbers what has no text instead of showing addresses.

use std::ffi::{CStr, c_int};
use std::io::Write;

use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, Result, Table};

use super::bounds::MAX_VALUES;
use super::current;

const OUT_OF_MEMORY: &[u8] = b"not enough memory";

/// A function that scripts call: it calls `inner`, which replies `true` and its results, or `false`
/// and an error. A text gets the place of the call in front of it, as Lua's own errors have.
pub(super) fn guarded(lua: &Lua, inner: Function) -> Result<Function> {
    // SAFETY: one value is on the stack, and the closure takes it as its only upvalue.
    unsafe { lua.exec_raw(inner, |state| ffi::lua_pushcclosure(state, guard, 1)) }
}

/// Replacements of Lua's own functions, as a table. `real` has the tables behind stand-ins, `names`
/// the numbers of what has no text.
pub(super) fn base(lua: &Lua, real: &Table, names: &Table) -> Result<Table> {
    let base = lua.create_table()?;
    let closures: [(&str, &Table, ffi::lua_CFunction); 4] = [
        ("pairs", real, pairs),
        ("next", real, next),
        ("rawset", real, rawset),
        ("tostring", names, tostring),
    ];
    for (name, upvalue, function) in closures {
        // SAFETY: as above.
        let closure: Function = unsafe {
            lua.exec_raw(upvalue, |state| {
                ffi::lua_pushcclosure(state, function, 1);
            })?
        };
        base.raw_set(name, closure)?;
    }
    let plain: [(&str, ffi::lua_CFunction); 6] = [
        ("pcall", pcall),
        ("xpcall", xpcall),
        ("readonly", readonly),
        ("missing", missing),
        ("getmetatable", getmetatable),
        ("out_of_memory", out_of_memory),
    ];
    for (name, function) in plain {
        // SAFETY: these are functions as Lua wants them, and keep the rule above.
        base.raw_set(name, unsafe { lua.create_c_function(function)? })?;
    }
    Ok(base)
}

unsafe extern "C-unwind" fn guard(state: *mut lua_State) -> c_int {
    // SAFETY: plain use of the stack within its bounds; lua_call makes room for the results.
    unsafe {
        let arguments = ffi::lua_gettop(state);
        if arguments > MAX_VALUES as c_int {
            return raise(state, c"too many arguments");
        }
        ffi::luaL_checkstack(state, 2, c"too many arguments".as_ptr());
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, arguments, ffi::LUA_MULTRET);
        if ffi::lua_toboolean(state, 1) != 0 {
            return ffi::lua_gettop(state) - 1;
        }
        ffi::lua_settop(state, 2);
        if ffi::lua_type(state, 2) == ffi::LUA_TSTRING {
            ffi::luaL_where(state, 1);
            ffi::lua_insert(state, 2);
            ffi::lua_concat(state, 2);
        }
        ffi::lua_error(state)
    }
}

unsafe extern "C-unwind" fn pcall(state: *mut lua_State) -> c_int {
    // SAFETY: as Lua's own.
    unsafe {
        ffi::luaL_checkany(state, 1);
        let arguments = ffi::lua_gettop(state) - 1;
        let status = ffi::lua_pcall(state, arguments, ffi::LUA_MULTRET, 0);
        let_pass(state, status);
        if status != 0 && ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
            // Errors of commands are tables, and who catches one gets its text.
            ffi::lua_pushstring(state, c"err".as_ptr());
            ffi::lua_rawget(state, -2);
            match ffi::lua_type(state, -1) {
                ffi::LUA_TSTRING => ffi::lua_replace(state, -2),
                _ => ffi::lua_pop(state, 1),
            }
        }
        ffi::lua_pushboolean(state, c_int::from(status == 0));
        ffi::lua_insert(state, 1);
        ffi::lua_gettop(state)
    }
}

unsafe extern "C-unwind" fn xpcall(state: *mut lua_State) -> c_int {
    // SAFETY: as Lua's own.
    unsafe {
        ffi::luaL_checkany(state, 2);
        ffi::lua_settop(state, 2);
        ffi::lua_insert(state, 1);
        let status = ffi::lua_pcall(state, 0, ffi::LUA_MULTRET, 1);
        let_pass(state, status);
        ffi::lua_pushboolean(state, c_int::from(status == 0));
        ffi::lua_replace(state, 1);
        ffi::lua_gettop(state)
    }
}

/// Raises the error on top of the stack again if no script may catch it.
unsafe fn let_pass(state: *mut lua_State, status: c_int) {
    // SAFETY: the caller has just called something that failed, so its error is on the stack.
    unsafe {
        if status == 0 {
            return;
        }
        let is_ours = ffi::lua_type(state, -1) == ffi::LUA_TUSERDATA;
        let is_memory = status == ffi::LUA_ERRMEM || is_out_of_memory(state);
        if is_memory {
            note_memory();
        }
        if is_ours || is_memory {
            ffi::lua_error(state);
        }
    }
}

/// Notes that memory has run out, whatever the script makes of it.
pub(super) fn note_memory() {
    current::with(|running| running.is_out_of_memory = true);
}

/// Says that memory has run out, where Lua has only returned it.
unsafe extern "C-unwind" fn out_of_memory(state: *mut lua_State) -> c_int {
    note_memory();
    // SAFETY: a text is pushed, and raised without a place in front of it.
    unsafe {
        ffi::lua_pushlstring(state, OUT_OF_MEMORY.as_ptr().cast(), OUT_OF_MEMORY.len());
        ffi::lua_error(state)
    }
}

/// What a coroutine that ran out of memory says.
unsafe fn is_out_of_memory(state: *mut lua_State) -> bool {
    // SAFETY: lua_tolstring of a string gives its bytes, which live as long as it is on the stack.
    unsafe {
        if ffi::lua_type(state, -1) != ffi::LUA_TSTRING {
            return false;
        }
        let mut len = 0;
        let bytes = ffi::lua_tolstring(state, -1, &raw mut len);
        std::slice::from_raw_parts(bytes.cast::<u8>(), len) == OUT_OF_MEMORY
    }
}

/// Puts the table behind a stand-in into argument 1.
pub(super) unsafe fn look_through(state: *mut lua_State) {
    // SAFETY: argument 1 is a table, and upvalue 1 too.
    unsafe {
        ffi::lua_pushvalue(state, 1);
        ffi::lua_rawget(state, ffi::lua_upvalueindex(1));
        if ffi::lua_isnil(state, -1) != 0 {
            ffi::lua_pop(state, 1);
        } else {
            ffi::lua_replace(state, 1);
        }
    }
}

/// Refuses a table with a key that is ordered by its address. Each key counts as a step.
pub(super) unsafe fn check_order(state: *mut lua_State) {
    let mut keys = 0;
    // SAFETY: argument 1 is a table; the stack is left as it was found.
    unsafe {
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 1) != 0 {
            ffi::lua_pop(state, 1);
            check_key(state, -1);
            keys += 1;
        }
    }
    // A script whose steps are used up hears of it from the hook.
    current::with(|running| running.charge(keys));
}

/// Refuses a key that is ordered by its address.
unsafe fn check_key(state: *mut lua_State, index: c_int) {
    // SAFETY: the caller has put a key there.
    unsafe {
        match ffi::lua_type(state, index) {
            ffi::LUA_TSTRING | ffi::LUA_TNUMBER | ffi::LUA_TBOOLEAN => {}
            // There is one, for JSON's null.
            ffi::LUA_TLIGHTUSERDATA => {}
            _ => {
                raise(
                    state,
                    c"a table with tables or functions as keys has no order that replicas agree on",
                );
            }
        }
    }
}

pub(super) unsafe fn raise(state: *mut lua_State, text: &CStr) -> c_int {
    // SAFETY: the text has no conversions.
    unsafe { ffi::luaL_error(state, text.as_ptr()) }
}

unsafe extern "C-unwind" fn next(state: *mut lua_State) -> c_int {
    // SAFETY: as Lua's own.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::lua_settop(state, 2);
        look_through(state);
        check_order(state);
        if ffi::lua_next(state, 1) != 0 {
            return 2;
        }
        ffi::lua_pushnil(state);
        1
    }
}

/// A step of a loop over a table that has been looked at. The loop may have put something in.
unsafe extern "C-unwind" fn step(state: *mut lua_State) -> c_int {
    // SAFETY: as Lua's own.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::lua_settop(state, 2);
        if ffi::lua_next(state, 1) != 0 {
            check_key(state, 2);
            return 2;
        }
        ffi::lua_pushnil(state);
        1
    }
}

unsafe extern "C-unwind" fn pairs(state: *mut lua_State) -> c_int {
    // SAFETY: as Lua's own.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::lua_settop(state, 1);
        look_through(state);
        check_order(state);
        ffi::lua_pushcclosure(state, step, 0);
        ffi::lua_pushvalue(state, 1);
        ffi::lua_pushnil(state);
        3
    }
}

unsafe extern "C-unwind" fn rawset(state: *mut lua_State) -> c_int {
    // SAFETY: as Lua's own.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(state, 2);
        ffi::luaL_checkany(state, 3);
        ffi::lua_settop(state, 3);
        ffi::lua_pushvalue(state, 1);
        ffi::lua_rawget(state, ffi::lua_upvalueindex(1));
        if ffi::lua_isnil(state, -1) == 0 {
            ffi::lua_pushstring(state, c"Attempt to modify a readonly table".as_ptr());
            ffi::lua_error(state);
        }
        ffi::lua_settop(state, 3);
        ffi::lua_rawset(state, 1);
        1
    }
}

/// The metatable of strings is nobody's to change.
unsafe extern "C-unwind" fn getmetatable(state: *mut lua_State) -> c_int {
    // SAFETY: as Lua's own.
    unsafe {
        ffi::luaL_checkany(state, 1);
        if ffi::lua_type(state, 1) != ffi::LUA_TTABLE || ffi::lua_getmetatable(state, 1) == 0 {
            ffi::lua_pushnil(state);
            return 1;
        }
        ffi::lua_pushstring(state, c"__metatable".as_ptr());
        ffi::lua_rawget(state, -2);
        if ffi::lua_isnil(state, -1) != 0 {
            ffi::lua_pop(state, 1);
        }
        1
    }
}

unsafe extern "C-unwind" fn readonly(state: *mut lua_State) -> c_int {
    // SAFETY: `raise` only pushes.
    unsafe { raise(state, c"Attempt to modify a readonly table") }
}

/// What is looked for in the globals and not there.
unsafe extern "C-unwind" fn missing(state: *mut lua_State) -> c_int {
    // SAFETY: argument 2 is the key; a number is made a text in place.
    unsafe {
        let name = match ffi::lua_type(state, 2) {
            ffi::LUA_TSTRING | ffi::LUA_TNUMBER => ffi::lua_tolstring(state, 2, &mut 0),
            kind => ffi::lua_typename(state, kind),
        };
        let text = c"Script attempted to access nonexistent global variable '%s'";
        ffi::luaL_error(state, text.as_ptr(), name)
    }
}

unsafe extern "C-unwind" fn tostring(state: *mut lua_State) -> c_int {
    // SAFETY: as Lua's own; the buffer is on the stack and needs no drop.
    unsafe {
        ffi::luaL_checkany(state, 1);
        if ffi::luaL_callmeta(state, 1, c"__tostring".as_ptr()) != 0 {
            return 1;
        }
        let kind = ffi::lua_type(state, 1);
        match kind {
            ffi::LUA_TNUMBER => {
                ffi::lua_pushvalue(state, 1);
                ffi::lua_tolstring(state, -1, std::ptr::null_mut());
            }
            ffi::LUA_TSTRING => ffi::lua_pushvalue(state, 1),
            ffi::LUA_TBOOLEAN if ffi::lua_toboolean(state, 1) != 0 => {
                ffi::lua_pushstring(state, c"true".as_ptr());
            }
            ffi::LUA_TBOOLEAN => {
                ffi::lua_pushstring(state, c"false".as_ptr());
            }
            ffi::LUA_TNIL => {
                ffi::lua_pushstring(state, c"nil".as_ptr());
            }
            ffi::LUA_TLIGHTUSERDATA => {
                ffi::lua_pushstring(state, c"userdata: (nil)".as_ptr());
            }
            _ => {
                let number = number_of(state);
                let name = CStr::from_ptr(ffi::lua_typename(state, kind)).to_bytes();
                let mut text = [0u8; 64];
                let mut rest = &mut text[..];
                // Too long a name of a type would be cut, and there is none.
                let _ = rest.write_all(name);
                let _ = write!(rest, ": 0x{number:012x}");
                let len = 64 - rest.len();
                ffi::lua_pushlstring(state, text.as_ptr().cast(), len);
            }
        }
        1
    }
}

/// The number of argument 1: the how manyth it is whose text was asked for. The names' entry 0
/// counts.
unsafe fn number_of(state: *mut lua_State) -> i64 {
    // SAFETY: upvalue 1 is a table.
    unsafe {
        let names = ffi::lua_upvalueindex(1);
        ffi::lua_pushvalue(state, 1);
        ffi::lua_rawget(state, names);
        if ffi::lua_isnil(state, -1) != 0 {
            ffi::lua_pop(state, 1);
            ffi::lua_rawgeti(state, names, 0);
            let number = ffi::lua_tonumber(state, -1) + 1.0;
            ffi::lua_pop(state, 1);
            ffi::lua_pushnumber(state, number);
            ffi::lua_pushvalue(state, -1);
            ffi::lua_rawseti(state, names, 0);
            ffi::lua_pushvalue(state, 1);
            ffi::lua_pushvalue(state, -2);
            ffi::lua_rawset(state, names);
        }
        let number = ffi::lua_tonumber(state, -1);
        ffi::lua_pop(state, 1);
        number as i64
    }
}
