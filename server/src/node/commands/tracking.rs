//! CLIENT TRACKING and what belongs to it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::{Flow, NodeContext, NodeOutcome};
use crate::commands::{CommandError, is_option};
use crate::connection::Session;
use crate::keyspace::parse_canonical_int;
use crate::node::Node;
use crate::node::clients::ClientFlag;
use crate::notices::Mode;

const OTHER_BCAST: CommandError = CommandError::text(
    "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
     re-enabling it with a different mode.",
);
const OTHER_OPTION: CommandError = CommandError::text(
    "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
     re-enabling it with a different mode.",
);
const NO_TRACKING: CommandError = CommandError::text(
    "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT \
     mode enabled",
);

pub(super) fn track(context: &mut NodeContext<'_>) -> NodeOutcome {
    let (mode, prefixes) = parse(context)?;
    if is_option(context.args, 2, "on") {
        check(&mode, &prefixes, context.session.tracking.as_ref())?;
        enable(context, mode, prefixes);
    } else if is_option(context.args, 2, "off") {
        disable(context.node, context.session);
    } else {
        return Err(CommandError::Syntax);
    }
    context.ok()
}

fn parse<'a>(context: &NodeContext<'a>) -> Result<(Mode, Vec<&'a [u8]>), CommandError> {
    let args = context.args;
    let (mut mode, mut prefixes) = (Mode::default(), Vec::new());
    let mut at = 3;
    while at < args.len() {
        let has_value = at + 1 < args.len();
        if is_option(args, at, "redirect") && has_value {
            at += 1;
            if mode.redirect.is_some() {
                return Err(CommandError::text(
                    "ERR A client can only redirect to a single other client",
                ));
            }
            let id = parse_canonical_int(args.arg(at)).ok_or(CommandError::NotInteger)?;
            let id = u64::try_from(id).unwrap_or(0);
            if context.node.clients.get(id).is_none() {
                return Err(CommandError::text(
                    "ERR The client ID you want redirect to does not exist",
                ));
            }
            mode.redirect = Some(id);
        } else if is_option(args, at, "bcast") {
            mode.broadcast = true;
        } else if is_option(args, at, "optin") {
            mode.opt_in = true;
        } else if is_option(args, at, "optout") {
            mode.opt_out = true;
        } else if is_option(args, at, "noloop") {
            mode.no_loop = true;
        } else if is_option(args, at, "prefix") && has_value {
            at += 1;
            prefixes.push(args.arg(at));
        } else {
            return Err(CommandError::Syntax);
        }
        at += 1;
    }
    Ok((mode, prefixes))
}

/// Whether options fit each other and what is in force, looked at in Redis's order.
fn check(mode: &Mode, prefixes: &[&[u8]], present: Option<&Mode>) -> Result<(), CommandError> {
    if !mode.broadcast && !prefixes.is_empty() {
        return Err(CommandError::text(
            "ERR PREFIX option requires BCAST mode to be enabled",
        ));
    }
    if present.is_some_and(|present| present.broadcast != mode.broadcast) {
        return Err(OTHER_BCAST);
    }
    if mode.broadcast && (mode.opt_in || mode.opt_out) {
        return Err(CommandError::text(
            "ERR OPTIN and OPTOUT are not compatible with BCAST",
        ));
    }
    if mode.opt_in && mode.opt_out {
        return Err(CommandError::text(
            "ERR You can't specify both OPTIN mode and OPTOUT mode",
        ));
    }
    let switches =
        |present: &Mode| mode.opt_in && present.opt_out || mode.opt_out && present.opt_in;
    if present.is_some_and(switches) {
        return Err(OTHER_OPTION);
    }
    let existing = present.map(|present| &present.prefixes);
    check_prefixes(prefixes, existing)
}

fn check_prefixes(
    prefixes: &[&[u8]],
    existing: Option<&BTreeSet<Box<[u8]>>>,
) -> Result<(), CommandError> {
    let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    let refuse = |one: &[u8], which: &str, other: &[u8]| {
        let (one, other) = (String::from_utf8_lossy(one), String::from_utf8_lossy(other));
        Err(CommandError::composed(format!(
            "ERR Prefix '{one}' overlaps with {which} prefix '{other}'. Prefixes for a single \
             client must not overlap."
        )))
    };
    for (at, prefix) in prefixes.iter().enumerate() {
        let mut present = existing.into_iter().flatten();
        if let Some(other) = present.find(|other| overlap(prefix, other)) {
            return refuse(prefix, "an existing", other);
        }
        let mut behind = prefixes[at + 1..].iter();
        if let Some(other) = behind.find(|other| overlap(prefix, other)) {
            return refuse(prefix, "another provided", other);
        }
    }
    Ok(())
}

fn enable(context: &mut NodeContext<'_>, mut mode: Mode, prefixes: Vec<&[u8]>) {
    let session = &mut *context.session;
    if let Some(present) = session.tracking.take() {
        mode.prefixes = present.prefixes;
        mode.caching = present.caching;
    }
    if mode.broadcast {
        mode.prefixes
            .extend(prefixes.iter().map(|prefix| Box::from(*prefix)));
        if prefixes.is_empty() {
            mode.prefixes.insert(Box::default());
        }
    }
    context.node.notices.tracking.enable(&session.client, &mode);
    show(session, Some(&mode));
    session.tracking = Some(mode);
}

/// Ends tracking, if it is on.
pub(super) fn disable(node: &Node, session: &mut Session) {
    if session.tracking.take().is_some() {
        node.notices.tracking.disable(session.client.id);
        show(session, None);
    }
}

fn show(session: &Session, mode: Option<&Mode>) {
    let client = &session.client;
    let redirect = mode.map_or(-1, redirection_of);
    client.redirect.store(redirect, Ordering::Relaxed);
    client.redirect_is_broken.store(false, Ordering::Relaxed);
    client.set(ClientFlag::Tracking, mode.is_some());
    let broadcasts = mode.is_some_and(|mode| mode.broadcast);
    client.set(ClientFlag::Broadcast, broadcasts);
}

fn redirection_of(mode: &Mode) -> i64 {
    mode.redirect.map_or(0, |id| id as i64)
}

pub(super) fn caching(context: &mut NodeContext<'_>) -> NodeOutcome {
    let args = context.args;
    let mode = context.session.tracking.as_mut().ok_or(NO_TRACKING)?;
    let is_fit = if is_option(args, 2, "yes") {
        mode.opt_in
            .then_some(())
            .ok_or("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
    } else if is_option(args, 2, "no") {
        mode.opt_out
            .then_some(())
            .ok_or("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
    } else {
        return Err(CommandError::Syntax);
    };
    is_fit.map_err(CommandError::text)?;
    mode.caching = true;
    context.ok()
}

pub(super) fn redirection(context: &mut NodeContext<'_>) -> NodeOutcome {
    let mode = context.session.tracking.as_ref();
    let redirection = mode.map_or(-1, redirection_of);
    context.encoder().integer(redirection);
    Ok(Flow::Continue)
}

pub(super) fn describe(context: &mut NodeContext<'_>) -> NodeOutcome {
    let broken = context
        .session
        .client
        .redirect_is_broken
        .load(Ordering::Relaxed);
    let mode = context.session.tracking.clone();
    let flags: Vec<&str> = match &mode {
        None => vec!["off"],
        Some(mode) => [
            ("on", true),
            ("bcast", mode.broadcast),
            ("optin", mode.opt_in),
            ("caching-yes", mode.opt_in && mode.caching),
            ("optout", mode.opt_out),
            ("caching-no", mode.opt_out && mode.caching),
            ("noloop", mode.no_loop),
            ("broken_redirect", broken),
        ]
        .into_iter()
        .filter_map(|(flag, holds)| holds.then_some(flag))
        .collect(),
    };
    let mut out = context.encoder();
    out.map(3);
    out.bulk(b"flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"redirect");
    out.integer(mode.as_ref().map_or(-1, redirection_of));
    out.bulk(b"prefixes");
    let prefixes = mode.map(|mode| mode.prefixes).unwrap_or_default();
    out.array(prefixes.len());
    prefixes.iter().for_each(|prefix| out.bulk(prefix));
    Ok(Flow::Continue)
}
