//! Gives requests the replies that came from elsewhere.

use bailiwick_frame::Encoder;

use super::parcel::Load;
use crate::commands::CommandError;
use crate::group::{Item, Proposal, Strayed};
use crate::state::{DecodeError, ProxiedReply, decode_replies};

/// Gives the requests of a parcel that are not answered yet their replies: each of them, or, where
/// a part is enough, the first ones, of which there is one at least.
///
/// # Errors
/// The outcomes are not those of these requests; nothing was given then.
pub(super) fn distribute(
    body: &[u8],
    loads: &mut [Load],
    part_is_enough: bool,
) -> Result<(), DecodeError> {
    let outcomes = decode_replies(body)?;
    let has_reply = |item: &&Item| matches!(item, Item::Command { .. } | Item::Transaction(_));
    let requests = loads
        .iter()
        .map(|load| load.proposal.items[load.answered..].iter());
    let requests: usize = requests.map(|items| items.filter(has_reply).count()).sum();
    let makes_sense = match part_is_enough {
        true => (1..=requests).contains(&outcomes.len()),
        false => outcomes.len() == requests,
    };
    if !makes_sense {
        return Err(DecodeError::Malformed(body.len()));
    }
    let mut outcomes = outcomes.into_iter();
    for Load { proposal, answered } in loads {
        while *answered < proposal.items.len() {
            if has_reply(&&proposal.items[*answered]) {
                let Some(outcome) = outcomes.next() else {
                    return Ok(());
                };
                give(outcome, proposal, *answered);
            }
            *answered += 1;
        }
    }
    Ok(())
}

fn give(outcome: ProxiedReply<'_>, proposal: &mut Proposal, at: usize) {
    let item = &proposal.items[at];
    let reply = match outcome {
        ProxiedReply::Stray(stray) => {
            let start = proposal.replies.len();
            let text = stray.to_string();
            Encoder::new(&mut proposal.replies, proposal.protocol).error(&text);
            proposal.is_discarded |= matches!(item, Item::Transaction(_));
            let reply = start..proposal.replies.len();
            proposal.strayed.push(Strayed {
                item: at,
                reply,
                stray,
            });
            return;
        }
        ProxiedReply::Discarded(reply) => {
            proposal.is_discarded = true;
            reply
        }
        ProxiedReply::Failed(reply) => {
            if let Item::Command { command, .. } = item {
                let text = String::from_utf8_lossy(reply.trim_ascii_end());
                let error = CommandError::composed(text.trim_start_matches('-').to_owned());
                proposal.failures.push((*command, error));
            }
            reply
        }
        ProxiedReply::Done(reply) => reply,
    };
    proposal.replies.extend_from_slice(reply);
}
