//! Commands about the connection itself: PING, ECHO, HELLO, AUTH, SELECT, QUIT, RESET and the
//! cluster modes.

use bailiwick_frame::Protocol;

use super::{Flow, NodeContext, NodeOutcome, pubsub, tracking};
use crate::commands::{CommandError, NodeCommand, int32};
use crate::connection::ReplyMode;
use crate::node::clients::ClientFlag;
use crate::routing::redirect::Port;

/// The Redis version whose behaviour clients may expect.
pub const REDIS_VERSION: &str = "7.2.5";

/// The user that every connection is.
const DEFAULT_USER: &[u8] = b"default";

const WRONG_PASSWORD: CommandError =
    CommandError::text("WRONGPASS invalid username-password pair or user is disabled.");

pub(super) fn ping(context: &mut NodeContext<'_>) -> NodeOutcome {
    let args = context.args;
    if args.len() > 2 {
        return Err(CommandError::arity("ping"));
    }
    match args.get(1) {
        message if context.session.only_listens() => {
            let mut out = context.encoder();
            out.array(2);
            out.bulk(b"pong");
            out.bulk(message.unwrap_or_default());
        }
        Some(message) => context.encoder().bulk(message),
        None => context.encoder().simple("PONG"),
    }
    Ok(Flow::Continue)
}

pub(super) fn echo(context: &mut NodeContext<'_>) -> NodeOutcome {
    let message = context.args.arg(1);
    context.encoder().bulk(message);
    Ok(Flow::Continue)
}

pub(super) fn hello(context: &mut NodeContext<'_>) -> NodeOutcome {
    let args = context.args;
    let protocol = match args.get(1) {
        None => None,
        Some(b"2") => Some(Protocol::Resp2),
        Some(b"3") => Some(Protocol::Resp3),
        Some(version) => {
            let is_number =
                std::str::from_utf8(version).is_ok_and(|text| text.parse::<i64>().is_ok());
            return Err(if is_number {
                CommandError::text("NOPROTO unsupported protocol version")
            } else {
                CommandError::text("ERR Protocol version is not an integer or out of range")
            });
        }
    };
    let (credentials, name) = hello_options(context)?;
    if let Some((user, password)) = credentials {
        authenticate(context, user, password)?;
    }
    if !context.session.is_authenticated {
        return Err(CommandError::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        *context.session.client.name.lock() = String::from_utf8_lossy(name).into_owned();
    }
    if let Some(protocol) = protocol {
        context.session.set_protocol(protocol);
    }
    write_hello(context);
    Ok(Flow::Continue)
}

type Credentials<'a> = (&'a [u8], &'a [u8]);

fn hello_options<'a>(
    context: &NodeContext<'a>,
) -> Result<(Option<Credentials<'a>>, Option<&'a [u8]>), CommandError> {
    let args = context.args;
    let (mut credentials, mut name) = (None, None);
    let mut next = 2;
    while let Some(option) = args.get(next) {
        if option.eq_ignore_ascii_case(b"auth") && next + 2 < args.len() {
            credentials = Some((args.arg(next + 1), args.arg(next + 2)));
            next += 3;
        } else if option.eq_ignore_ascii_case(b"setname") && next + 1 < args.len() {
            check_name(args.arg(next + 1))?;
            name = Some(args.arg(next + 1));
            next += 2;
        } else {
            let option = String::from_utf8_lossy(option);
            let text = format!("ERR Syntax error in HELLO option '{option}'");
            return Err(CommandError::composed(text));
        }
    }
    Ok((credentials, name))
}

fn write_hello(context: &mut NodeContext<'_>) {
    let id = context.session.client.id as i64;
    let protocol = context.session.protocol;
    let mode = mode_name(context.session.port);
    let mut encoder = context.encoder();
    encoder.map(7);
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        encoder.bulk(field.as_bytes());
        encoder.bulk(value.as_bytes());
    }
    encoder.bulk(b"proto");
    encoder.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
    encoder.bulk(b"id");
    encoder.integer(id);
    for (field, value) in [("mode", mode), ("role", "master")] {
        encoder.bulk(field.as_bytes());
        encoder.bulk(value.as_bytes());
    }
    encoder.bulk(b"modules");
    encoder.array(0);
}

/// How a server of this kind calls its mode.
pub(super) fn mode_name(port: Port) -> &'static str {
    match port {
        Port::Plain => "standalone",
        Port::Cluster => "cluster",
    }
}

/// Names are shown in lists of words, so they hold no spaces and nothing that cannot be seen.
pub(super) fn check_name(name: &[u8]) -> Result<(), CommandError> {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(());
    }
    Err(CommandError::text(
        "ERR Client names cannot contain spaces, newlines or special characters.",
    ))
}

pub(super) fn auth(context: &mut NodeContext<'_>) -> NodeOutcome {
    let args = context.args;
    let (user, password) = match args.len() {
        2 => {
            if context.node.settings.load().requirepass.is_empty() {
                return Err(CommandError::text(
                    "ERR AUTH <password> called without any password configured for the default \
                     user. Are you sure your configuration is correct?",
                ));
            }
            (DEFAULT_USER, args.arg(1))
        }
        3 => (args.arg(1), args.arg(2)),
        _ => return Err(CommandError::Syntax),
    };
    authenticate(context, user, password)?;
    context.ok()
}

fn authenticate(
    context: &mut NodeContext<'_>,
    user: &[u8],
    password: &[u8],
) -> Result<(), CommandError> {
    let settings = context.node.settings.load();
    let wanted = settings.requirepass.as_bytes();
    // Without a password any will do for the default user, as in Redis.
    let fits = user == DEFAULT_USER && (wanted.is_empty() || same_secret(wanted, password));
    if !fits {
        return Err(WRONG_PASSWORD);
    }
    context.session.is_authenticated = true;
    Ok(())
}

/// Compares in a time that depends on the lengths only.
fn same_secret(wanted: &[u8], given: &[u8]) -> bool {
    let mut difference = wanted.len() ^ given.len();
    for (index, byte) in given.iter().enumerate() {
        difference |= usize::from(byte ^ wanted[index % wanted.len()]);
    }
    difference == 0
}

pub(super) fn select(context: &mut NodeContext<'_>) -> NodeOutcome {
    let number = int32(context.args.arg(1))?;
    let database = usize::try_from(number).map_err(|_| CommandError::DatabaseOutOfRange)?;
    // How many there are was settled when the log began, whatever the settings say since. Until
    // that is loaded only the first is certain.
    let group = context.node.group();
    let databases = match group {
        None => 0,
        Some(group) => group.databases().ok_or_else(|| group.busy_error())?,
    };
    if database >= databases.max(1) {
        return Err(match databases {
            0 => CommandError::Loading,
            _ => CommandError::DatabaseOutOfRange,
        });
    }
    context.session.set_database(database);
    context.ok()
}

pub(super) fn quit(context: &mut NodeContext<'_>) -> NodeOutcome {
    context.encoder().ok();
    Ok(Flow::Close)
}

pub(super) fn reset(context: &mut NodeContext<'_>) -> NodeOutcome {
    let session = &mut *context.session;
    session.discard();
    pubsub::leave(context.node, &mut session.subscriptions, &session.client);
    tracking::disable(context.node, session);
    session.set_database(0);
    session.set_protocol(Protocol::Resp2);
    session.reply_mode = ReplyMode::On;
    session.no_touch = false;
    session.redirects_all = false;
    session.is_authenticated = context.node.settings.load().requirepass.is_empty();
    session.client.name.lock().clear();
    if session.client.has(ClientFlag::Monitor) {
        let node = context.node;
        node.monitors.remove(session.client.id, &node.attention);
    }
    for flag in [
        ClientFlag::Monitor,
        ClientFlag::NoEvict,
        ClientFlag::NoTouch,
        ClientFlag::Readonly,
    ] {
        session.client.set(flag, false);
    }
    context.encoder().simple("RESET");
    Ok(Flow::Continue)
}

pub(super) fn cluster_mode(which: NodeCommand, context: &mut NodeContext<'_>) -> NodeOutcome {
    let client = &context.session.client;
    match which {
        NodeCommand::Readonly => client.set(ClientFlag::Readonly, true),
        NodeCommand::Readwrite => client.set(ClientFlag::Readonly, false),
        // ASKING matters where a slot is in migration, and is answered with a redirect of another
        // kind. Here requests wait while a prefix moves, so there is nothing to remember.
        _ => {}
    }
    context.ok()
}
