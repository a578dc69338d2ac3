//! Requests as they may be shown, to monitors and in the slow log: without passwords.
//!
//! Knows which arguments are secret: those of AUTH, the credentials of HELLO, and the values of
//! secret parameters in CONFIG SET. Everything else is shown as it came.

use bailiwick_frame::{ArgRange, Args};

use crate::commands::{Handler, Known, NodeCommand};

/// What stands in place of a secret.
const REDACTED: &[u8] = b"(redacted)";

/// Parameters of CONFIG SET whose values are secret.
const SECRET_PARAMETERS: &[&[u8]] = &[b"requirepass", b"masterauth", b"masteruser"];

/// Calls `show` with the arguments as they may be shown.
pub fn with_shown(command: &Known, args: Args<'_>, show: impl FnOnce(Args<'_>)) {
    let is_secret = |index| is_secret(command, args, index);
    if !(0..args.len()).any(is_secret) {
        return show(args);
    }
    let (mut buffer, mut ranges) = (Vec::new(), Vec::with_capacity(args.len()));
    for (index, arg) in args.iter().enumerate() {
        let start = buffer.len() as u32;
        buffer.extend_from_slice(if is_secret(index) { REDACTED } else { arg });
        ranges.push(ArgRange {
            start,
            end: buffer.len() as u32,
        });
    }
    show(Args::new(&buffer, &ranges));
}

fn is_secret(command: &Known, args: Args<'_>, index: usize) -> bool {
    let Handler::Node(which) = command.handler else {
        return false;
    };
    match which {
        NodeCommand::Auth => index > 0,
        NodeCommand::Hello => is_credential(args, index),
        NodeCommand::ConfigSet => {
            let is_value = index >= 3 && index % 2 == 1;
            is_value
                && SECRET_PARAMETERS
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(&args[index - 1]))
        }
        _ => false,
    }
}

/// Whether the argument is one of the two behind an AUTH among HELLO's options.
fn is_credential(args: Args<'_>, index: usize) -> bool {
    let mut option = 2;
    while option < index {
        let word = args.arg(option);
        option += if word.eq_ignore_ascii_case(b"auth") {
            if index <= option + 2 {
                return true;
            }
            3
        } else {
            2
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::find;

    fn shown(line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let mut ranges = Vec::new();
        let mut end = 0;
        for word in &words {
            let start = end;
            end += word.len() as u32;
            ranges.push(ArgRange { start, end });
        }
        let buffer = words.concat();
        let args = Args::new(buffer.as_bytes(), &ranges);
        let command = crate::commands::lookup(args).unwrap_or_else(|_| find(args.arg(0)).unwrap());
        let mut shown = Vec::new();
        with_shown(&command, args, |args| {
            shown = args
                .iter()
                .map(|arg| String::from_utf8_lossy(arg).into_owned())
                .collect();
        });
        shown.join(" ")
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("AUTH p"), "AUTH (redacted)");
        assert_eq!(shown("auth u p"), "auth (redacted) (redacted)");
        assert_eq!(
            shown("HELLO 3 AUTH u p SETNAME n"),
            "HELLO 3 AUTH (redacted) (redacted) SETNAME n"
        );
        assert_eq!(
            shown("HELLO 3 SETNAME auth AUTH u p"),
            "HELLO 3 SETNAME auth AUTH (redacted) (redacted)"
        );
        assert_eq!(
            shown("CONFIG SET maxmemory 1 RequirePass p"),
            "CONFIG SET maxmemory 1 RequirePass (redacted)"
        );
    }

    #[test]
    fn everything_else_is_shown() {
        for line in [
            "GET k",
            "SET auth requirepass",
            "HELLO 2 SETNAME x",
            "CONFIG GET requirepass",
        ] {
            assert_eq!(shown(line), line);
        }
    }
}
