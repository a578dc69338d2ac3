//! DEBUG PROTOCOL: one reply of each type, for authors of clients.

use bailiwick_frame::{Encoder, Protocol};

use crate::commands::{CommandError, Outcome};

/// The number that Redis answers with.
#[allow(clippy::approx_constant, reason = "it is not meant to be pi")]
const SAMPLE_DOUBLE: f64 = 3.141;

/// Writes the reply of this type's name, in any case.
pub(super) fn write(name: &[u8], out: &mut Encoder<'_>) -> Outcome {
    match &*name.to_ascii_lowercase() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.integer(12345),
        b"double" => out.double(SAMPLE_DOUBLE),
        b"bignum" => out.big_number("1234567999999999999999999999999999999"),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|number| out.integer(number));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|number| out.integer(number));
        }
        b"map" => {
            out.map(3);
            for number in 0..3 {
                out.integer(number);
                out.boolean(number == 1);
            }
        }
        b"attrib" => write_attribute(out),
        b"push" => return write_push(out),
        b"verbatim" => out.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => out.boolean(true),
        b"false" => out.boolean(false),
        _ => {
            return Err(CommandError::text(
                "ERR Wrong protocol type name. Please use one of the following: string|integer|\
                 double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

/// An attribute stands before the reply it belongs to; RESP2 has none.
fn write_attribute(out: &mut Encoder<'_>) {
    if out.protocol() == Protocol::Resp3 {
        out.buffer().extend_from_slice(b"|1\r\n");
        out.bulk(b"key-popularity");
        out.array(2);
        out.bulk(b"key:123");
        out.integer(90);
    }
    out.bulk(b"Some real reply following the attribute");
}

/// A push answers nothing, so a reply follows it.
fn write_push(out: &mut Encoder<'_>) -> Outcome {
    if out.protocol() == Protocol::Resp2 {
        return Err(CommandError::text(
            "ERR RESP2 is not supported by this command",
        ));
    }
    out.push(2);
    out.bulk(b"server-cpu-usage");
    out.integer(42);
    out.bulk(b"Some real reply following the push reply");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(name: &str, protocol: Protocol) -> String {
        let mut out = Vec::new();
        write(name.as_bytes(), &mut Encoder::new(&mut out, protocol)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_type_has_its_form_in_both_protocols() {
        assert_eq!(reply("True", Protocol::Resp3), "#t\r\n");
        assert_eq!(reply("true", Protocol::Resp2), ":1\r\n");
        assert_eq!(
            reply("map", Protocol::Resp3),
            "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n"
        );
        assert!(reply("push", Protocol::Resp3).starts_with(">2\r\n"));
        assert!(reply("attrib", Protocol::Resp3).starts_with("|1\r\n$14\r\nkey-popularity\r\n"));
        assert!(reply("attrib", Protocol::Resp2).starts_with("$39\r\nSome real"));
    }
}
