//! CLIENT: what connections say of themselves, and do to one another.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bailiwick_frame::Args;

use super::basic::check_name;
use super::client_line::line;
use super::{Flow, NodeContext, NodeOutcome};
use crate::commands::{CommandError, is_option};
use crate::connection::ReplyMode;
use crate::keyspace::parse_canonical_int;
use crate::node::clients::{Client, ClientFlag};
use crate::node::{self, Condition, PauseMode};

pub(super) fn id(context: &mut NodeContext<'_>) -> NodeOutcome {
    let id = context.session.client.id as i64;
    context.encoder().integer(id);
    Ok(Flow::Continue)
}

pub(super) fn info(context: &mut NodeContext<'_>) -> NodeOutcome {
    let client = context.session.client.clone();
    write_lines(&[client], context)
}

pub(super) fn list(context: &mut NodeContext<'_>) -> NodeOutcome {
    let args = context.args;
    let clients = context.node.clients.all();
    let listed = if args.len() == 2 {
        clients
    } else if args.len() == 4 && is_option(args, 2, "type") {
        let class = Class::parse(args.arg(3))?;
        clients
            .into_iter()
            .filter(|client| class.holds(client))
            .collect()
    } else if args.len() > 3 && is_option(args, 2, "id") {
        let id = |arg| parse_canonical_int(arg).and_then(|id| u64::try_from(id).ok());
        let ids: Option<Vec<u64>> = args.from(3).iter().map(id).collect();
        let ids = ids.ok_or(CommandError::text("ERR Invalid client ID"))?;
        ids.iter()
            .filter_map(|&id| context.node.clients.get(id))
            .collect()
    } else {
        return Err(CommandError::Syntax);
    };
    write_lines(&listed, context)
}

fn write_lines(clients: &[Arc<Client>], context: &mut NodeContext<'_>) -> NodeOutcome {
    let (now_ms, own_id) = (node::now_ms(), context.session.client.id);
    let own_command = context.command.full_name();
    let mut text = String::new();
    for client in clients {
        let command = (client.id == own_id).then_some(&*own_command);
        text += &line(client, now_ms, command);
        text.push('\n');
    }
    context.encoder().verbatim("txt", text.as_bytes());
    Ok(Flow::Continue)
}

/// What `TYPE` asks for. Nodes do not follow one another through the clients' port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Normal,
    Pubsub,
    Other,
}

impl Class {
    fn parse(name: &[u8]) -> Result<Self, CommandError> {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        if is("normal") {
            Ok(Self::Normal)
        } else if is("pubsub") {
            Ok(Self::Pubsub)
        } else if ["master", "slave", "replica"].into_iter().any(is) {
            Ok(Self::Other)
        } else {
            let name = String::from_utf8_lossy(name);
            Err(CommandError::composed(format!(
                "ERR Unknown client type '{name}'"
            )))
        }
    }

    fn holds(self, client: &Client) -> bool {
        match self {
            Self::Normal => !client.has(ClientFlag::Pubsub),
            Self::Pubsub => client.has(ClientFlag::Pubsub),
            Self::Other => false,
        }
    }
}

pub(super) fn set_name(context: &mut NodeContext<'_>) -> NodeOutcome {
    let name = context.args.arg(2);
    check_name(name)?;
    *context.session.client.name.lock() = String::from_utf8_lossy(name).into_owned();
    context.ok()
}

pub(super) fn get_name(context: &mut NodeContext<'_>) -> NodeOutcome {
    let name = context.session.client.name.lock().clone();
    if name.is_empty() {
        context.encoder().null();
    } else {
        context.encoder().bulk(name.as_bytes());
    }
    Ok(Flow::Continue)
}

pub(super) fn set_info(context: &mut NodeContext<'_>) -> NodeOutcome {
    let (attribute, value) = (context.args.arg(2), context.args.arg(3));
    let shown = String::from_utf8_lossy(attribute);
    let is_name = attribute.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !attribute.eq_ignore_ascii_case(b"lib-ver") {
        return Err(CommandError::composed(format!(
            "ERR Unrecognized option '{shown}'"
        )));
    }
    if check_name(value).is_err() {
        return Err(CommandError::composed(format!(
            "ERR {shown} cannot contain spaces, newlines or special characters."
        )));
    }
    let value = String::from_utf8_lossy(value).into_owned();
    let mut library = context.session.client.library.lock();
    if is_name {
        library.0 = value;
    } else {
        library.1 = value;
    }
    drop(library);
    context.ok()
}

pub(super) fn kill(context: &mut NodeContext<'_>) -> NodeOutcome {
    if context.args.len() == 3 {
        let address = String::from_utf8_lossy(context.args.arg(2));
        let filter = Filter {
            address: Some(address.as_bytes()),
            ..Filter::default()
        };
        if kill_matching(&filter, context) == 0 {
            return Err(CommandError::text("ERR No such client"));
        }
        return context.ok();
    }
    let mut filter = Filter {
        skip_own: true,
        ..Filter::default()
    };
    filter.parse(context.args.from(2))?;
    let killed = kill_matching(&filter, context);
    context.encoder().integer(killed);
    Ok(Flow::Continue)
}

/// Whom `CLIENT KILL` means: those for whom all that is given holds.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    class: Option<Class>,
    min_age_s: Option<i64>,
    skip_own: bool,
}

impl<'a> Filter<'a> {
    fn parse(&mut self, options: Args<'a>) -> Result<(), CommandError> {
        for at in (0..options.len()).step_by(2) {
            let value = options.get(at + 1).ok_or(CommandError::Syntax)?;
            let is = |option| is_option(options, at, option);
            if is("id") {
                self.id = Some(positive(value, "client-id")?);
            } else if is("type") {
                self.class = Some(Class::parse(value)?);
            } else if is("addr") {
                self.address = Some(value);
            } else if is("laddr") {
                self.local_address = Some(value);
            } else if is("user") {
                check_user(value)?;
            } else if is("skipme") {
                self.skip_own = yes_or_no(value)?;
            } else if is("maxage") {
                self.min_age_s = Some(positive(value, "maxage")? as i64);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(())
    }

    fn holds(&self, client: &Client, own_id: u64, now_ms: i64) -> bool {
        let age_s = (now_ms - client.created_ms) / 1000;
        self.id.is_none_or(|id| client.id == id)
            && self
                .address
                .is_none_or(|address| client.address.as_bytes() == address)
            && self
                .local_address
                .is_none_or(|local| client.local_address.as_bytes() == local)
            && self.class.is_none_or(|class| class.holds(client))
            && self.min_age_s.is_none_or(|min_s| age_s >= min_s)
            && !(self.skip_own && client.id == own_id)
    }
}

fn positive(value: &[u8], name: &str) -> Result<u64, CommandError> {
    let number = parse_canonical_int(value).and_then(|number| u64::try_from(number).ok());
    number
        .filter(|&number| number > 0)
        .ok_or_else(|| CommandError::composed(format!("ERR {name} should be greater than 0")))
}

fn check_user(name: &[u8]) -> Result<(), CommandError> {
    if name == b"default" {
        return Ok(());
    }
    let name = String::from_utf8_lossy(name);
    Err(CommandError::composed(format!("ERR No such user '{name}'")))
}

fn yes_or_no(value: &[u8]) -> Result<bool, CommandError> {
    switch(value, "yes", "no")
}

fn switch(value: &[u8], on: &str, off: &str) -> Result<bool, CommandError> {
    if value.eq_ignore_ascii_case(on.as_bytes()) {
        Ok(true)
    } else if value.eq_ignore_ascii_case(off.as_bytes()) {
        Ok(false)
    } else {
        Err(CommandError::Syntax)
    }
}

/// Ends those connections; this one only after its reply.
fn kill_matching(filter: &Filter<'_>, context: &NodeContext<'_>) -> i64 {
    let (own_id, now_ms) = (context.session.client.id, node::now_ms());
    let mut killed = 0;
    for client in context.node.clients.all() {
        if !filter.holds(&client, own_id, now_ms) {
            continue;
        }
        killed += 1;
        if client.id == own_id {
            client.closing.store(true, Ordering::Release);
        } else {
            client.kill();
        }
    }
    killed
}

pub(super) fn pause(context: &mut NodeContext<'_>) -> NodeOutcome {
    let args = context.args;
    let mode = match args.len() {
        3 => PauseMode::All,
        4 if is_option(args, 3, "write") => PauseMode::Writes,
        4 if is_option(args, 3, "all") => PauseMode::All,
        4 => {
            return Err(CommandError::text(
                "ERR CLIENT PAUSE mode must be WRITE or ALL",
            ));
        }
        _ => return Err(context.subcommand_error()),
    };
    let timeout_ms = parse_canonical_int(args.arg(2)).ok_or(CommandError::text(
        "ERR timeout is not an integer or out of range",
    ))?;
    if timeout_ms < 0 {
        return Err(CommandError::text("ERR timeout is negative"));
    }
    let until_ms = node::now_ms()
        .checked_add(timeout_ms)
        .ok_or(CommandError::text("ERR timeout is out of range"))?;
    context.node.pause.start(mode, until_ms);
    context.node.attention.set(Condition::Paused, true);
    context.ok()
}

pub(super) fn unpause(context: &mut NodeContext<'_>) -> NodeOutcome {
    context.node.attention.set(Condition::Paused, false);
    context.node.pause.stop();
    context.ok()
}

pub(super) fn no_evict(context: &mut NodeContext<'_>) -> NodeOutcome {
    let on = switch(context.args.arg(2), "on", "off")?;
    context.session.client.set(ClientFlag::NoEvict, on);
    context.ok()
}

pub(super) fn no_touch(context: &mut NodeContext<'_>) -> NodeOutcome {
    let on = switch(context.args.arg(2), "on", "off")?;
    context.session.no_touch = on;
    context.session.client.set(ClientFlag::NoTouch, on);
    context.ok()
}

/// Only ON is answered.
pub(super) fn reply(context: &mut NodeContext<'_>) -> NodeOutcome {
    let args = context.args;
    let mode = &mut context.session.reply_mode;
    if is_option(args, 2, "on") {
        *mode = ReplyMode::On;
        return context.ok();
    }
    if is_option(args, 2, "off") {
        *mode = ReplyMode::Off;
    } else if is_option(args, 2, "skip") {
        if *mode != ReplyMode::Off {
            *mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(CommandError::Syntax);
    }
    Ok(Flow::Continue)
}

/// Answers 1 if the client waited for keys; if it is served at that very moment, it gets that
/// reply.
pub(super) fn unblock(context: &mut NodeContext<'_>) -> NodeOutcome {
    let args = context.args;
    match args.len() {
        3 => {}
        4 if is_option(args, 3, "timeout") || is_option(args, 3, "error") => {}
        4 => {
            return Err(CommandError::text(
                "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            ));
        }
        _ => return Err(context.subcommand_error()),
    }
    let id = parse_canonical_int(args.arg(2)).ok_or(CommandError::NotInteger)?;
    let with_error = args.len() == 4 && is_option(args, 3, "error");
    let client = u64::try_from(id).ok();
    let client = client.and_then(|id| context.node.clients.get(id));
    let is_told = client.is_some_and(|client| client.unblock(with_error));
    context.encoder().integer(i64::from(is_told));
    Ok(Flow::Continue)
}
