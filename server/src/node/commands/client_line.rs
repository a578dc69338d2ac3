//! A connection as a line of `CLIENT LIST`.

use std::sync::atomic::Ordering;

use crate::commands;
use crate::node::clients::{Client, ClientFlag};

/// The only user there is.
const USER: &str = "default";

/// The letters of the flags, in Redis's order.
const LETTERS: [(ClientFlag, char); 10] = [
    (ClientFlag::Monitor, 'O'),
    (ClientFlag::Pubsub, 'P'),
    (ClientFlag::Multi, 'x'),
    (ClientFlag::Blocked, 'b'),
    (ClientFlag::Tracking, 't'),
    (ClientFlag::Broadcast, 'B'),
    (ClientFlag::Closing, 'c'),
    (ClientFlag::Readonly, 'r'),
    (ClientFlag::NoEvict, 'e'),
    (ClientFlag::NoTouch, 'T'),
];

/// Describes a connection. What only Redis's own buffers would have is zero. `command` is what it
/// runs at the moment, if that is known better than from its last command.
pub(super) fn line(client: &Client, now_ms: i64, command: Option<&str>) -> String {
    let seconds_since = |ms: i64| (now_ms - ms).max(0) / 1000;
    let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let library = client.library.lock();
    let command = command.map_or_else(|| last_command(client), str::to_owned);
    let (input, output) = (number(&client.input_bytes), number(&client.output_bytes));
    let queued_bytes = number(&client.queued_bytes);
    let (messages, message_bytes) = client.feed.len();
    let [sub, psub, ssub] = [0, 1, 2].map(|at| client.subscriptions[at].load(Ordering::Relaxed));
    format!(
        "id={id} addr={address} laddr={local} fd={fd} name={name} age={age} idle={idle} \
         flags={flags} db={database} sub={sub} psub={psub} ssub={ssub} multi={multi} watch={watch} qbuf={input} \
         qbuf-free=0 argv-mem=0 multi-mem={queued_bytes} rbs=0 rbp=0 obl={output} oll={messages} omem={message_bytes} \
         tot-mem={total} events=r cmd={command} user={USER} redir={redirect} resp={protocol} \
         lib-name={library_name} lib-ver={library_version}",
        id = client.id,
        address = client.address,
        local = client.local_address,
        fd = client.fd,
        name = client.name.lock(),
        age = seconds_since(client.created_ms),
        idle = seconds_since(client.active_ms.load(Ordering::Relaxed)),
        flags = flags(client),
        redirect = client.redirect.load(Ordering::Relaxed),
        database = client.database.load(Ordering::Relaxed),
        multi = queued(client),
        watch = client.watched.load(Ordering::Relaxed),
        total = size_of::<Client>() as u64 + input + output + queued_bytes + message_bytes as u64,
        protocol = client.protocol.load(Ordering::Relaxed),
        library_name = library.0,
        library_version = library.1,
    )
}

fn flags(client: &Client) -> String {
    let set = LETTERS.iter().filter(|(flag, _)| client.has(*flag));
    let mut letters: String = set.map(|(_, letter)| letter).collect();
    if client.redirect_is_broken.load(Ordering::Relaxed)
        && let Some(at) = letters.find('t')
    {
        letters.insert(at + 1, 'R');
    }
    if letters.is_empty() {
        "N".to_owned()
    } else {
        letters
    }
}

/// Commands queued by MULTI; -1 outside.
fn queued(client: &Client) -> i64 {
    if client.has(ClientFlag::Multi) {
        i64::from(client.queued.load(Ordering::Relaxed))
    } else {
        -1
    }
}

fn last_command(client: &Client) -> String {
    match client.last_command.load(Ordering::Relaxed) {
        u16::MAX => "NULL".to_owned(),
        id => commands::by_id(usize::from(id)).full_name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        let (address, local) = ("10.0.0.1:5".to_owned(), "10.0.0.2:6379".to_owned());
        Client::new(7, address, local, 9, 1_000)
    }

    #[test]
    fn a_new_connection_has_no_flags_and_no_command() {
        let line = line(&client(), 4_500, None);
        let begin =
            "id=7 addr=10.0.0.1:5 laddr=10.0.0.2:6379 fd=9 name= age=3 idle=3 flags=N db=0 ";
        assert!(line.starts_with(begin), "{line}");
        assert!(line.contains(" multi=-1 watch=0 "), "{line}");
        assert!(
            line.ends_with("cmd=NULL user=default redir=-1 resp=2 lib-name= lib-ver="),
            "{line}"
        );
    }

    #[test]
    fn flags_are_letters_in_a_fixed_order() {
        let client = client();
        client.set(ClientFlag::NoTouch, true);
        client.set(ClientFlag::Multi, true);
        client.set(ClientFlag::Watching, true);
        let line = line(&client, 0, Some("client|list"));
        assert!(
            line.contains(" flags=xT ") && line.contains(" multi=0 "),
            "{line}"
        );
        assert!(
            line.contains(" age=0 ") && line.contains(" cmd=client|list "),
            "{line}"
        );
    }
}
