//! Gives requests the replies that came from elsewhere.

use bailiwick_frame::Encoder;

use crate::commands::CommandError;
use crate::group::{Item, Proposal, Strayed};
use crate::state::{DecodeError, ProxiedReply, decode_replies};

/// Gives each request of the proposals its reply.
///
/// # Errors
/// The outcomes are not those of these requests; nothing was given then.
pub(super) fn distribute(body: &[u8], proposals: &mut [Box<Proposal>]) -> Result<(), DecodeError> {
    let outcomes = decode_replies(body)?;
    let has_reply = |item: &&Item| matches!(item, Item::Command { .. } | Item::Transaction(_));
    let requests = proposals
        .iter()
        .map(|proposal| proposal.items.iter().filter(has_reply).count());
    if requests.sum::<usize>() != outcomes.len() {
        return Err(DecodeError::Malformed(body.len()));
    }
    let mut outcomes = outcomes.into_iter();
    for proposal in proposals {
        let proposal = &mut **proposal;
        for at in 0..proposal.items.len() {
            if has_reply(&&proposal.items[at]) {
                let outcome = outcomes.next().expect("they were counted");
                give(outcome, proposal, at);
            }
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
